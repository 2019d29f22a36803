// SPDX-License-Identifier: MIT
// The norm layers, and the properties that make PLN an activation: see the specification's Jacobian, bounds,
// invariances. Gradients are in sequential_test.cpp, the kernels' own laws in kernels/.
#include <foldnorm/layers/layer_norm.hpp>
#include <foldnorm/layers/parallel_layer_norm.hpp>
#include <foldnorm/layers/rms_norm.hpp>

#include <Eigen/Eigenvalues>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "catch.hpp"
#include "eigen_instances.hpp"
#include "laws/inputs.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;
using laws::normal;

template <class Layer>
Matrix<double> apply(Layer const& layer, Matrix<double> const& x) {
  Matrix<double> y(x.rows(), x.cols());
  layer.forward(x, y);
  return y;
}

// Row i: the gradient of output i, by the layer's own backward.
Matrix<double> jacobian(ParallelLayerNorm<double> const& layer, Vector<double> const& x) {
  Index const n = x.size();
  NormStatistics<double> statistics;
  Matrix<double> y(n, 1), dx(n, 1), result(n, n);
  layer.forward(x, y, statistics);
  auto gradient = layer;
  for (Index i = 0; i < n; ++i) {
    layer.backward(Vector<double>::Unit(n, i), x, statistics, dx, gradient);
    result.row(i) = dx.transpose();
  }
  return result;
}

}  // namespace

TEST_CASE("norm layers: the names are one layer, with its defaults") {
  Matrix<double> const x = normal<double>(12, 7, 1, 3, 2);
  CHECK(laws::same_bits(apply(LayerNorm<double>(12), x), apply(ParallelLayerNorm<double>(12, 12), x)));
  CHECK(laws::same_bits(apply(RMSNorm<double>(12), x), apply(ParallelLayerScaling<double>(12, 12), x)));
  ParallelLayerNorm<double> const layer(12, 4);
  CHECK(layer.groups() == 3);
  CHECK(layer.norm_size() == 4);
  CHECK(layer.options().eps == 1e-5);
  CHECK(layer.gamma == Vector<double>::Ones(12));
  CHECK(layer.beta == Vector<double>::Zero(12));
}

TEST_CASE("norm layers: groups of one, without eps and centering, are the sign") {
  ParallelLayerScaling<double> const sign(5, 1, {.eps = 0});
  Vector<double> x(5);
  x << -1e-310, -7, 0, 3, 1e300;
  Vector<double> expected(5);
  expected << -1, -1, 0, 1, 1;
  CHECK((apply(sign, x) - expected).cwiseAbs().maxCoeff() <= 4e-16);
  CHECK(apply(sign, x)(2) == 0);
}

TEST_CASE("PLN: a group's Jacobian has the eigenvalues 0, eps / s^3 and d - 2 times 1 / s") {
  Index const d = 6;
  for (double const eps : {0.0, 1e-5, .3}) {
    ParallelLayerNorm<double> const layer(2 * d, d, {.eps = eps, .affine = false});
    Vector<double> const x = normal<double>(2 * d, 1, 5);
    Matrix<double> const j = jacobian(layer, x);
    CHECK(j.topRightCorner(d, d).cwiseAbs().maxCoeff() == 0);
    CHECK((j - j.transpose()).cwiseAbs().maxCoeff() <= 1e-15);
    Vector<double> const h = x.head(d);
    double const s = std::sqrt((h.array() - h.mean()).square().mean() + eps);
    Vector<double> expected = Vector<double>::Constant(d, 1 / s);
    expected[0] = 0;
    expected[1] = eps / (s * s * s);
    std::sort(expected.begin(), expected.end());
    Matrix<double> const block = j.topLeftCorner(d, d);
    Vector<double> const found =
        Eigen::SelfAdjointEigenSolver<Matrix<double>>(block, Eigen::EigenvaluesOnly).eigenvalues();
    CAPTURE(eps);
    CHECK((found - expected).cwiseAbs().maxCoeff() <= 1e-14);
  }
}

TEST_CASE("PLN: groups of two without eps are steps: values +-1 and no gradient") {
  ParallelLayerNorm<double> const layer(8, 2, {.eps = 0});
  Vector<double> const x = normal<double>(8, 1, 6);
  CHECK((apply(layer, x).cwiseAbs().array() - 1).abs().maxCoeff() <= 1e-15);
  CHECK(jacobian(layer, x).cwiseAbs().maxCoeff() <= 1e-14);
}

TEST_CASE("PLN: bounded, of fixed length, idempotent, and blind to shift and scale of a group") {
  Index const n = 24, m = 50;
  Matrix<double> const x = normal<double>(n, m, 7, 1, 3);
  for (Index const d : {3, 4, 8, 24}) {
    CAPTURE(d);
    ParallelLayerNorm<double> const pln(n, d, {.eps = 0});
    ParallelLayerScaling<double> const pls(n, d, {.eps = 0});
    Matrix<double> const y = apply(pln, x), z = apply(pls, x);
    double const size = static_cast<double>(d), rounding = 64 * 1.2e-16 * static_cast<double>(n);
    CHECK(y.cwiseAbs().maxCoeff() <= std::sqrt(size - 1) + rounding);
    CHECK(z.cwiseAbs().maxCoeff() <= std::sqrt(size) + rounding);
    CHECK((y.colwise().norm().array() - std::sqrt(static_cast<double>(n))).abs().maxCoeff() <= rounding);
    CHECK((apply(pln, y) - y).cwiseAbs().maxCoeff() <= rounding);
    CHECK((apply(pln, 2.5 * x + Matrix<double>::Constant(n, m, 7)) - y).cwiseAbs().maxCoeff() <= 20 * rounding);
    CHECK((apply(pls, 2.5 * x) - z).cwiseAbs().maxCoeff() <= rounding);
    Matrix<double> swapped = x;  // the first group and the last change places
    swapped.topRows(d) = x.bottomRows(d);
    swapped.bottomRows(d) = x.topRows(d);
    CHECK((apply(pln, swapped).topRows(d) - y.bottomRows(d)).cwiseAbs().maxCoeff() <= rounding);
  }
}

TEST_CASE("PLN: channels-last images are grouped at each pixel") {
  Index const channels = 12, pixels = 5 * 4, images = 3;
  ParallelLayerNorm<double> const layer(channels, 4);
  Matrix<double> const x = normal<double>(channels, pixels * images, 8);
  Matrix<double> const y = apply(layer, x);
  for (Index pixel = 0; pixel < x.cols(); ++pixel) {
    for (Index g = 0; g < channels; g += 4) {
      Vector<double> const centered = x.col(pixel).segment(g, 4).array() - x.col(pixel).segment(g, 4).mean();
      Vector<double> const expected = centered / std::sqrt(centered.squaredNorm() / 4 + 1e-5);
      CHECK((y.col(pixel).segment(g, 4) - expected).cwiseAbs().maxCoeff() <= 1e-14);
    }
  }
}

TEST_CASE("norm layers: a norm_size that does not divide, a bad eps and other shapes throw") {
  CHECK_THROWS_AS(ParallelLayerNorm<double>(12, 5), std::invalid_argument);
  CHECK_THROWS_AS(ParallelLayerNorm<double>(12, 0), std::invalid_argument);
  CHECK_THROWS_AS(ParallelLayerNorm<double>(-1, 1), std::invalid_argument);
  CHECK_THROWS_AS(LayerNorm<double>(12, {.eps = -1}), std::invalid_argument);
  LayerNorm<double> layer(4);
  Matrix<double> y(4, 2);
  CHECK_THROWS_AS(layer.forward(Matrix<double>::Ones(3, 2), y), shape_error);
  CHECK_THROWS_AS(layer.forward(Matrix<double>::Ones(4, 3), y), shape_error);
  layer.gamma.resize(3);
  CHECK_THROWS_AS(layer.forward(Matrix<double>::Ones(4, 2), y), shape_error);
}
