// SPDX-License-Identifier: MIT
// What is particular to rms_norm; what both norms share is in the norm_*_test.cpp files.
#include <foldnorm/kernels/rms_norm.hpp>

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "laws/instances.hpp"

namespace {

using foldnorm::Accuracy;
using foldnorm::Matrix;
using foldnorm::none;
using foldnorm::NormStatistics;
using foldnorm::rms_norm;
using foldnorm::rms_norm_backward;
using foldnorm::Vector;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class X, class Gamma, class Y>
concept can_scale = requires(X const& x, Gamma gamma, Y y) {
  rms_norm(x, gamma, none, 1, y);
};

static_assert(can_scale<Matrix<float>, Vector<float> const&, Matrix<float>&>);
static_assert(can_scale<Matrix<float>, decltype(none), Eigen::Block<Matrix<float>>>);
static_assert(can_scale<RowMajor, decltype(none), Matrix<float>&>);
static_assert(can_scale<Vector<double>, decltype(none), Vector<double>&>);
static_assert(!can_scale<Matrix<float>, decltype(none), RowMajor&>);
static_assert(!can_scale<Matrix<float>, decltype(none), Eigen::Transpose<Matrix<float>>>);
static_assert(!can_scale<Matrix<float>, decltype(none), Matrix<double>&>);
static_assert(!can_scale<Matrix<float>, Vector<double> const&, Matrix<float>&>);
static_assert(!can_scale<Matrix<int>, decltype(none), Matrix<int>&>);

}  // namespace

TEMPLATE_TEST_CASE("rms_norm: two numbers by hand, with gain and shift", "", float, double) {
  using Scalar = TestType;
  Matrix<Scalar> x(2, 1);
  x << 1, 7;  // mean square 25; with eps 11 the root is 6
  Vector<Scalar> gamma(2), beta(2);
  gamma << 6, 3;
  beta << 0, -2;
  Scalar const tolerance = 8 * std::numeric_limits<Scalar>::epsilon();
  for (Accuracy accuracy : {Accuracy::fast, Accuracy::accurate}) {
    Matrix<Scalar> const y = rms_norm(x, gamma, beta, Scalar(11), accuracy);
    CHECK(std::abs(y(0) - 1) <= tolerance);
    CHECK(std::abs(y(1) - Scalar(1.5)) <= 4 * tolerance);
  }
}

TEMPLATE_TEST_CASE("rms_norm: one feature is ordinary, not beta", "", float, double) {
  Matrix<TestType> const x = Matrix<TestType>::Constant(1, 1, -4);
  CHECK(rms_norm(x, none, none, TestType(9))(0, 0) == TestType(-0.8));
  NormStatistics<TestType> statistics;
  Matrix<TestType> y(1, 1), dx(1, 1);
  rms_norm(x, none, none, TestType(9), y, statistics);
  rms_norm_backward(Matrix<TestType>::Ones(1, 1), x, none, statistics, dx, none, none);
  // d/dx x / sqrt(x^2 + 9) = 9 / 125
  CHECK(std::abs(dx(0, 0) - TestType(0.072)) <= std::numeric_limits<TestType>::epsilon());
}

TEMPLATE_TEST_CASE("rms_norm: a minus zero stays one", "", float, double) {
  Matrix<TestType> x(2, 1);
  x << TestType(-0.0), 1;
  CHECK(std::signbit(rms_norm(x, none, none, TestType(1e-5))(0, 0)));
}
