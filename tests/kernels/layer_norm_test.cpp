// SPDX-License-Identifier: MIT
// What is particular to layer_norm; what both norms share is in the norm_*_test.cpp files.
#include <foldnorm/kernels/layer_norm.hpp>

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "laws/instances.hpp"

namespace {

using foldnorm::Accuracy;
using foldnorm::layer_norm;
using foldnorm::layer_norm_backward;
using foldnorm::Matrix;
using foldnorm::none;
using foldnorm::NormStatistics;
using foldnorm::Vector;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class X, class Gamma, class Y>
concept can_normalize = requires(X const& x, Gamma gamma, Y y) {
  layer_norm(x, gamma, none, 1, y);
};

static_assert(can_normalize<Matrix<float>, Vector<float> const&, Matrix<float>&>);
static_assert(can_normalize<Matrix<float>, decltype(none), Eigen::Block<Matrix<float>>>);
static_assert(can_normalize<RowMajor, decltype(none), Matrix<float>&>);
static_assert(can_normalize<Vector<double>, decltype(none), Vector<double>&>);
static_assert(!can_normalize<Matrix<float>, decltype(none), RowMajor&>);
static_assert(!can_normalize<Matrix<float>, decltype(none), Eigen::Transpose<Matrix<float>>>);
static_assert(!can_normalize<Matrix<float>, decltype(none), Matrix<double>&>);
static_assert(!can_normalize<Matrix<float>, Vector<double> const&, Matrix<float>&>);
static_assert(!can_normalize<Matrix<int>, decltype(none), Matrix<int>&>);

}  // namespace

TEMPLATE_TEST_CASE("layer_norm: three numbers by hand", "", float, double) {
  using Scalar = TestType;
  Matrix<Scalar> x(3, 1);
  x << 1, 2, 6;  // mean 3, biased variance (4 + 1 + 9) / 3 = 14/3; with eps 1/3 the deviation is sqrt(5)
  Vector<Scalar> gamma(3), beta(3);
  gamma << 1, 2, -1;
  beta << 0, 10, 1;
  Scalar const root = std::sqrt(Scalar(5)), tolerance = 8 * std::numeric_limits<Scalar>::epsilon();
  for (Accuracy accuracy : {Accuracy::fast, Accuracy::accurate}) {
    Matrix<Scalar> const y = layer_norm(x, gamma, beta, Scalar(1) / 3, accuracy);
    CHECK(std::abs(y(0) - -2 / root) <= tolerance);
    CHECK(std::abs(y(1) - (10 - 2 / root)) <= 10 * tolerance);
    CHECK(std::abs(y(2) - (1 - 3 / root)) <= tolerance);
  }
}

TEMPLATE_TEST_CASE("layer_norm: gradients by hand, of three numbers and of copies of them", "", float, double) {
  using Scalar = TestType;
  Scalar const root = std::sqrt(Scalar(5)), tolerance = 8 * std::numeric_limits<Scalar>::epsilon();
  Vector<Scalar> numbers(3), upstream(3), expected(3);
  numbers << 1, 2, 6;  // as above: xhat = (-2, -1, 3) / sqrt(5)
  upstream << 1, 0, 0;
  expected << 6, -7, 1;  // (dy - 1/3 + 2/15 (-2, -1, 3)) / sqrt(5), in units of 1 / (15 sqrt(5))
  expected /= 15 * root;
  for (int copies : {1, 40}) {  // of every feature: no mean changes
    Matrix<Scalar> const x = numbers.replicate(copies, 1), dy = upstream.replicate(copies, 1);
    for (Accuracy accuracy : {Accuracy::fast, Accuracy::accurate}) {
      Matrix<Scalar> y(x.rows(), 1), dx(x.rows(), 1);
      Vector<Scalar> dgamma(x.rows()), dbeta(x.rows());
      NormStatistics<Scalar> statistics;
      layer_norm(x, none, none, Scalar(1) / 3, y, statistics, accuracy);
      layer_norm_backward(dy, x, Vector<Scalar>::Ones(x.rows()), statistics, dx, dgamma, dbeta, {accuracy});
      for (foldnorm::Index i = 0; i < x.rows(); ++i) CHECK(std::abs(dx(i) - expected[i % 3]) <= tolerance);
      CHECK(std::abs(dgamma[0] - -2 / root) <= tolerance);
      CHECK((dgamma[1] == 0 && dbeta[0] == 1 && dbeta[2] == 0));
    }
  }
}

TEMPLATE_TEST_CASE("layer_norm: statistics say mean and reciprocal deviation", "", float, double) {
  Matrix<TestType> x(2, 2), y(2, 2);
  x << 1, 5, 3, 9;
  NormStatistics<TestType> statistics;
  statistics.samples.resize(7);
  layer_norm(x, none, none, TestType(0), y, statistics);
  REQUIRE(statistics.samples.size() == 2);
  CHECK(statistics.features == 2);
  CHECK(statistics.samples[0].mean_high == 2);
  CHECK(statistics.samples[1].mean_high == 7);
  CHECK(statistics.samples[0].inverse_deviation == 1);
  CHECK(statistics.samples[1].inverse_deviation == 0.5);
}
