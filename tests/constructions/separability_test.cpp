// SPDX-License-Identifier: MIT
#include <foldnorm/constructions/separability.hpp>

#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>

#include "catch.hpp"
#include "constructions/labelled_samples.hpp"
#include "eigen_instances.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;
using testing::LabelledSamples;
using testing::random_labels;

LabelledSamples exclusive_or() { return {Matrix<double>{{0, 1, 0, 1}, {0, 1, 1, 0}}, {0, 0, 1, 1}}; }

}  // namespace

TEST_CASE("lssr: no affine map separates XOR at all, and one LayerNorm of width 3 separates it fully") {
  LabelledSamples const data = exclusive_or();
  CHECK(ssr(data.x, data.labels) == Approx(1).epsilon(1e-14));
  CHECK(lssr(data.x, data.labels) == Approx(1).epsilon(1e-14));
  for (double const r : {.1, 1.0, 3.0}) {
    Eigen::Vector3d const e1(1 / std::sqrt(2.0), -1 / std::sqrt(2.0), 0);
    Eigen::Vector3d const e2 = Eigen::Vector3d(1, 1, -2) / std::sqrt(6.0);
    Sequential<double> bump;
    bump.append(Linear<double>(e1 * Eigen::RowVector2d(1, 1), -e1 + r * e2));
    bump.append(LayerNorm<double>(3, {.eps = 0, .affine = false}));
    bump.append(Linear<double>(e2.transpose() / std::sqrt(3.0), Vector<double>::Zero(1)));
    Matrix<double> const out = bump.forward(data.x);
    CHECK(out(0, 0) == Approx(r / std::hypot(1, r)).epsilon(1e-14));
    CHECK(out(0, 2) == Approx(1).epsilon(1e-14));
    CHECK(ssr(out, data.labels) <= 1e-25);  // the square of a few u, over 1 - 1 / sqrt(1 + 1 / 9) squared
  }
}

TEST_CASE("lssr: no affine map has a smaller ssr, and the direction attains it") {
  std::mt19937_64 random(11);
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    LabelledSamples data = random_labels(4, 40, seed, 3);
    for (std::size_t j = 0; j < data.labels.size(); ++j) data.x(0, static_cast<Index>(j)) += .7 * data.labels[j];
    double const least = lssr(data.x, data.labels);
    CHECK(least < ssr(data.x, data.labels));
    CHECK(ssr(lssr_direction(data.x, data.labels).transpose() * data.x, data.labels) == Approx(least).epsilon(1e-12));
    for (int draw = 0; draw < 50; ++draw) {
      Index const out = 1 + draw % 4;
      Matrix<double> const map = Matrix<double>::NullaryExpr(out, 4, [&] { return detail::normal_draw(random); });
      Vector<double> const shift = Vector<double>::NullaryExpr(out, [&] { return detail::normal_draw(random); });
      Matrix<double> const image = (map * data.x).colwise() + shift;
      CHECK(ssr(image, data.labels) >= least - 1e-13);
      Matrix<double> const tilt = Matrix<double>::Identity(4, 4) + .1 * map.replicate(4, 1).topRows(4);
      CHECK(lssr(tilt * data.x, data.labels) == Approx(least).epsilon(1e-10));  // invertible, of condition < 100
    }
  }
}

TEST_CASE("lssr: for two classes it is 1 - (n1 n2 / n) (m1 - m2)^T S_t^+ (m1 - m2), flat features or not") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    LabelledSamples data = random_labels(3, 30, seed);
    data.x.conservativeResize(5, 30);
    data.x.row(3).setConstant(4);
    data.x.row(4) = data.x.row(0) + data.x.row(1);
    Vector<double> means[2] = {Vector<double>::Zero(5), Vector<double>::Zero(5)};
    double counts[2] = {0, 0};
    for (Index j = 0; j < 30; ++j) {
      int const label = data.labels[static_cast<std::size_t>(j)];
      means[label] += data.x.col(j);
      counts[label] += 1;
    }
    Vector<double> const between = means[0] / counts[0] - means[1] / counts[1];
    Matrix<double> const centered = data.x.colwise() - data.x.rowwise().mean().eval();
    // The minimum-norm solution on the three independent features.
    Matrix<double> const top = centered.topRows(3);
    Eigen::Matrix3d const scatter = top * top.transpose();
    Vector<double> const solved = scatter.inverse() * between.head(3);
    double const expected = 1 - counts[0] * counts[1] / 30 * between.head(3).dot(solved);
    CHECK(lssr(data.x, data.labels) == Approx(expected).epsilon(1e-10));
  }
}

TEST_CASE("lssr: 0 for classes that a line separates into points, 1 for one class") {
  CHECK(lssr(Matrix<double>{{0, 0, 1, 1}, {3, 5, 2, 9}}, {4, 4, -1, -1}) == Approx(0).margin(1e-14));
  CHECK(lssr(Matrix<double>{{0, 2, 1, 1}, {3, 5, 2, 9}}, {4, 4, 4, 4}) == Approx(1).epsilon(1e-13));
}

TEST_CASE("ssr and lssr refuse what has no scatter, and bad arguments") {
  Matrix<double> const equal = Matrix<double>::Ones(2, 3);
  Matrix<double> bad = exclusive_or().x;
  CHECK_THROWS_AS(ssr(equal, {0, 1, 1}), std::invalid_argument);
  CHECK_THROWS_AS(lssr(equal, {0, 1, 1}), std::invalid_argument);
  CHECK_THROWS_AS(ssr(Matrix<double>(2, 0), {}), std::invalid_argument);
  CHECK_THROWS_AS(lssr(bad, {0, 1, 1}), shape_error);
  bad(0, 0) = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(ssr(bad, {0, 0, 1, 1}), std::invalid_argument);
  CHECK_THROWS_AS(lssr_direction(bad, {0, 0, 1, 1}), std::invalid_argument);
}

TEST_CASE("ssr, lssr: samples of any size have the ratio of their multiples") {
  for (double const size : {5e-324, 1e-200, 1e200, 4e307}) {
    INFO("size " << size);
    Matrix<double> const x = size * Matrix<double>{{0, 1, 3, 4}};
    CHECK(ssr(x, {0, 0, 1, 1}) == Approx(.1).epsilon(1e-14));
    CHECK(lssr(x, {0, 0, 1, 1}) == Approx(.1).epsilon(1e-14));
  }
  Matrix<double> const apart{{-1.7e308, 1.7e308}};
  CHECK(ssr(apart, {0, 0}) == 1);
  CHECK(lssr(apart, {0, 1}) == 0);
}
