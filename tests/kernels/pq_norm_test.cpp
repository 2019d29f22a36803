// SPDX-License-Identifier: MIT
#include <foldnorm/kernels/pq_norm.hpp>

#include <foldnorm/layers/parallel_layer_norm.hpp>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "catch.hpp"
#include "laws/differences.hpp"
#include "laws/inputs.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;
using laws::normal;

Matrix<double> apply(Matrix<double> const& x, Index norm_size, PqNormOptions const& options) {
  Matrix<double> y(x.rows(), x.cols());
  pq_norm<double>(x, norm_size, options, y);
  return y;
}

}  // namespace

TEST_CASE("pq_norm: p = q = 2 is PLS, and with centering PLN") {
  Matrix<double> const x = normal<double>(12, 9, 1, 1);
  Matrix<double> y(12, 9);
  ParallelLayerScaling<double>(12, 4).forward(x, y);
  CHECK((apply(x, 4, {}) - y).cwiseAbs().maxCoeff() <= 1e-14);
  ParallelLayerNorm<double>(12, 4).forward(x, y);
  CHECK((apply(x, 4, {.center = true}) - y).cwiseAbs().maxCoeff() <= 1e-14);
}

TEST_CASE("pq_norm: without eps the mean of |y|^q is 1, at any magnitude") {
  for (double const magnitude : {1e-200, 1.0, 1e200}) {
    Matrix<double> const x = magnitude * normal<double>(15, 4, 2);
    for (auto const& [p, q] : {std::pair{1.0, 1.0}, {3.0, 2.0}, {.5, 2.0}, {4.0, 1.0}}) {
      Matrix<double> const y = apply(x, 5, {.p = p, .q = q, .eps = 0});
      for (Index j = 0; j < x.cols(); ++j) {
        for (Index g = 0; g < 15; g += 5) {
          CHECK(std::abs(y.col(j).segment(g, 5).array().abs().pow(q).mean() - 1) <= 1e-13);
          CHECK((y.col(j).segment(g, 5).array() * x.col(j).segment(g, 5).array()).minCoeff() >= 0);
        }
      }
    }
  }
}

TEST_CASE("pq_norm: dx is the derivative of the forward") {
  Matrix<double> const dy = normal<double>(8, 3, 4);
  for (auto const& [p, q] : {std::pair{2.0, 2.0}, {3.0, 2.0}, {4.0, 4.0}, {2.0, 3.0}, {1.5, 1.0}}) {
    for (bool const center : {false, true}) {
      for (double const eps : {0.0, .01}) {
        PqNormOptions const options{.p = p, .q = q, .eps = eps, .center = center};
        // Half of each group in [1, 2], half in [-2, -1]: centered or not, half a unit away from 0, where fractional
        // powers are not smooth.
        Matrix<double> x = laws::uniform<double>(8, 3, 3, 1, 2);
        for (Index i : {0, 3, 5, 6}) x.row(i) *= -1;
        Matrix<double> dx(8, 3);
        pq_norm_backward<double>(dy, x, 4, options, dx);
        auto const loss = [&] { return laws::dot(apply(x, 4, options), dy); };
        for (Index i = 0; i < x.size(); ++i) {
          CAPTURE(p, q, center, eps, i);
          double const h = 1e-6, before = x(i);
          x(i) = before + h;
          double const above = loss();
          x(i) = before - h;
          double const below = loss();
          x(i) = before;
          CHECK(std::abs(dx(i) - (above - below) / (2 * h)) <= 1e-8);
        }
      }
    }
  }
}

TEST_CASE("pq_norm: a group without spread gives 0, and NaN spoils its own group") {
  Matrix<double> x = normal<double>(6, 1, 5), dx(6, 1);
  x.topRows(3).setConstant(7);
  for (double const eps : {0.0, 1e-5}) {
    PqNormOptions const options{.p = 3, .eps = eps, .center = true};
    CHECK(apply(x, 3, options).topRows(3).isZero(0));
    CHECK(apply(x, 3, options).bottomRows(3).allFinite());
    pq_norm_backward<double>(x, x, 3, options, dx);
    CHECK(dx.allFinite());
  }
  x(4) = std::nan("");
  Matrix<double> const y = apply(x, 3, {.center = true});
  CHECK(y.topRows(3).allFinite());
  CHECK(y.bottomRows(3).array().isNaN().all());
}

TEST_CASE("pq_norm: equal values, whose mean is rounded, are exactly centered; and so are those near the largest") {
  PqNormOptions const options{.eps = 0, .center = true};
  Matrix<double> dx(3, 1);
  for (int k = 1; k <= 1000; ++k) {
    Matrix<double> const x = Matrix<double>::Constant(3, 1, k / 100.0);
    CAPTURE(k);
    REQUIRE(apply(x, 3, options).isZero(0));
    pq_norm_backward<double>(Vector<double>{{1, 2, 3}}, x, 3, options, dx);
    REQUIRE(dx.isZero(0));
  }
  Vector<double> const x{{1.7e308, -1.7e308, 1e308}};
  Matrix<double> const y = apply(x, 3, options), small = apply(x * 1e-308, 3, options);
  CHECK((y - small).cwiseAbs().maxCoeff() <= 1e-15);
  Matrix<double> small_dx(3, 1);
  Vector<double> const dy{{1, 2, -4}};
  pq_norm_backward<double>(dy * 1e100, x, 3, options, dx);
  pq_norm_backward<double>(dy, x * 1e-308, 3, options, small_dx);
  CHECK((dx * 1e208 - small_dx).cwiseAbs().maxCoeff() <= 1e-14);
}

TEST_CASE("pq_norm: a NaN spoils its group wherever it stands, and whatever is behind it") {
  for (double const eps : {0.0, 1e-5}) {
    for (Index at : {0, 1, 2}) {
      Matrix<double> x = Matrix<double>::Zero(3, 1), dx(3, 1);
      x(at) = std::nan("");
      CHECK(apply(x, 3, {.eps = eps}).array().isNaN().all());
      pq_norm_backward<double>(Matrix<double>::Ones(3, 1), x, 3, {.eps = eps}, dx);
      CHECK(dx.array().isNaN().all());
    }
  }
}

TEST_CASE("pq_norm: the moment has no slope at 0 for p <= 1, where sign(0) is 0") {
  // Without the moment's share, dx(0) is r |h|^(r-1) M^(-1/q) dy(0) / scale, and dy(0) = 0.
  for (double const exponent : {1.0, .5}) {
    Matrix<double> dx(3, 1);
    for (double const zero : {0.0, -0.0}) {
      Vector<double> const x{{zero, 1, 3}};
      pq_norm_backward<double>(Vector<double>{{0, 1, 0}}, x, 3, {.p = exponent, .q = exponent, .eps = 0}, dx);
      CHECK(dx(0) == 0);
    }
  }
}

TEST_CASE("pq_norm: in place, float, and what it refuses") {
  Matrix<double> const x = normal<double>(6, 4, 6);
  Matrix<double> in_place = x;
  pq_norm<double>(in_place, 3, {.p = 3}, in_place);
  CHECK(laws::same_bits(in_place, apply(x, 3, {.p = 3})));
  Matrix<float> narrow(6, 4);
  pq_norm<float>(x.cast<float>(), 3, {.p = 3}, narrow);
  CHECK((narrow.cast<double>() - in_place).cwiseAbs().maxCoeff() <= 4e-7);
  Matrix<double> y(6, 4);
  CHECK_THROWS_AS(pq_norm<double>(x, 4, {}, y), std::invalid_argument);
  CHECK_THROWS_AS(pq_norm<double>(x, 3, {.p = 0}, y), std::invalid_argument);
  CHECK_THROWS_AS(pq_norm<double>(x, 3, {.q = -1}, y), std::invalid_argument);
  CHECK_THROWS_AS(pq_norm<double>(x, 3, {.eps = -1}, y), std::invalid_argument);
  CHECK_THROWS_AS(pq_norm<double>(x.leftCols(3), 3, {}, y), shape_error);
  CHECK_THROWS_AS(pq_norm_backward<double>(x, x.leftCols(3), 3, {}, y), shape_error);
}

TEST_CASE("pq_activation: x / sqrt(1 + x^2) for p = q = 2, and its derivative") {
  Matrix<double> x(1, 6), y(1, 6), dx(1, 6);
  x << -1e200, -2, -1e-3, 0, .7, 1e200;
  pq_activation<double>(x, 2, 2, y);
  for (Index i : {1, 2, 3, 4}) CHECK(std::abs(y(i) - x(i) / std::sqrt(1 + x(i) * x(i))) <= 1e-15);
  CHECK(y(0) == -1);
  CHECK(y(5) == 1);
  for (auto const& [p, q] : {std::pair{2.0, 2.0}, {3.0, 2.0}, {1.0, 2.0}}) {
    Matrix<double> at = Matrix<double>::Constant(1, 1, .7), slope(1, 1), value(1, 1);
    pq_activation_backward<double>(Matrix<double>::Ones(1, 1), at, p, q, slope);
    double const expected = laws::partial(at(0), [&, p = p, q = q] {
      pq_activation<double>(at, p, q, value);
      return value(0);
    });
    CHECK(std::abs(slope(0) - expected) <= laws::difference_tolerance);
  }
  pq_activation_backward<double>(Matrix<double>::Ones(1, 6), x, 2, 2, dx);
  CHECK(dx(3) == 1);  // the limit at 0
  CHECK(dx(0) == 0);
  CHECK_THROWS_AS(pq_activation<double>(x, 0, 2, y), std::invalid_argument);
}

TEST_CASE("pq_activation: no power leaves the range where the result does not") {
  Matrix<double> const ones = Matrix<double>::Ones(1, 4);
  Matrix<double> x(1, 4), y(1, 4), dx(1, 4);
  x << 1e-160, 1e-300, 1e155, std::numeric_limits<double>::infinity();
  pq_activation<double>(x, 2, 8, y);
  CHECK(std::abs(y(0) * 1e40 - 1) <= 1e-12);
  CHECK(std::abs(y(1) * 1e75 - 1) <= 1e-12);
  CHECK(y(2) == 1);
  CHECK(y(3) == 1);
  pq_activation_backward<double>(ones, x, 4, 4.0 / 3, dx);
  CHECK(std::abs(dx(0)) <= 1e-319);  // 3e-320
  CHECK(dx(2) == 0);
  CHECK(dx(3) == 0);
  pq_activation_backward<double>(ones, x, 1, 1, dx);
  CHECK(std::abs(dx(0) - 1) <= 1e-15);
  CHECK(std::abs(dx(2) / 1e-155 * 1e155 - 1) <= 1e-12);  // 1 / x^2
}
