// SPDX-License-Identifier: MIT
#include <foldnorm/kernels/center.hpp>

#include <cmath>
#include <concepts>
#include <limits>
#include <stdexcept>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/reference.hpp"

namespace {

using namespace laws;
using foldnorm::center;

// x - mean, rounded once, after a mean that is exact for the purpose: 1 u. In double storage the two subtractions of
// the two words round once each: 2 u.
template <class Scalar>
constexpr Wide center_tolerance = 2 * unit_roundoff<Scalar>;

template <class X, class Y>
concept can_center_into = requires(X const& x, Y y) {
  center(x, y);
};

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
static_assert(can_center_into<Matrix<float>, Matrix<float>&>);
static_assert(can_center_into<RowMajor, Matrix<float>&>);
static_assert(can_center_into<Matrix<float>, Eigen::Block<Matrix<float>>>);
static_assert(can_center_into<Vector<float>, Vector<float>&>);
static_assert(!can_center_into<Matrix<float>, RowMajor&>);
static_assert(!can_center_into<Matrix<float>, Eigen::Transpose<Matrix<float>>>);
static_assert(!can_center_into<Matrix<float>, Matrix<double>&>);
static_assert(!can_center_into<Matrix<float>, Matrix<float> const&>);
static_assert(!can_center_into<Matrix<int>, Matrix<int>&>);

}  // namespace

TEMPLATE_TEST_CASE("center: every element is x - mean to the last place, at every mean and size", "", float, double) {
  using Scalar = TestType;
  for (Matrix<Scalar> const& x :
       {normal<Scalar>(1, 3, 601), normal<Scalar>(2, 3, 602), normal<Scalar>(768, 5, 603),
        normal<Scalar>(768, 5, 604, 1e3), normal<Scalar>(768, 5, 605, 1e6), outliers<Scalar>(300, 4, 606, Scalar(1e30)),
        uniform<Scalar>(100, 4, 607, -double(largest<Scalar>) / 2, double(largest<Scalar>) / 2),
        Matrix<Scalar>(normal<Scalar>(50, 4, 608) * std::numeric_limits<Scalar>::min())}) {
    Matrix<Scalar> const y = center(x);
    for (Index j = 0; j < x.cols(); ++j) {
      WideMean const mean(x.col(j));
      for (Index i = 0; i < x.rows(); ++i) {
        Wide const exact = (static_cast<Wide>(x(i, j)) - mean.high) - mean.low;
        INFO("mean " << static_cast<double>(mean.high) << ", at " << i << ", " << j);
        REQUIRE(std::abs(y(i, j) - exact) <= center_tolerance<Scalar> * std::abs(exact) + smallest<Scalar>);
      }
    }
  }
}

TEMPLATE_TEST_CASE("center: a constant column becomes exact zeros", "", float, double) {
  for (TestType constant :
       {TestType(1) / 3, TestType(1e30), largest<TestType>, -largest<TestType>, smallest_subnormal<TestType>}) {
    for (Index n : {1, 3, 17, 1000}) {
      CHECK(same_values(center(Matrix<TestType>::Constant(n, 2, constant)), Matrix<TestType>::Zero(n, 2)));
    }
  }
}

TEMPLATE_TEST_CASE("center: is its own adjoint, and idempotent", "", float, double) {
  using Scalar = TestType;
  Matrix<Scalar> const a = normal<Scalar>(100, 1, 609, 2), b = normal<Scalar>(100, 1, 610, -3);
  auto const dot = [](Matrix<Scalar> const& u, Matrix<Scalar> const& v) {
    return u.template cast<Wide>().cwiseProduct(v.template cast<Wide>()).sum();
  };
  // 100 products, each with an error of two roundings of numbers below 8
  Wide const tolerance = 100 * 2 * 8 * 8 * unit_roundoff<Scalar>;
  CHECK(std::abs(dot(center(a), b) - dot(a, center(b))) <= tolerance);
  CHECK((center(center(a)) - center(a)).cwiseAbs().maxCoeff() <= static_cast<Scalar>(8 * unit_roundoff<Scalar>));
}

TEMPLATE_TEST_CASE("center: in place and on every layout gives the same bits", "", float, double) {
  using Scalar = TestType;
  Matrix<Scalar> const x = normal<Scalar>(37, 4, 611, 5);
  Matrix<Scalar> const y = center(x);
  Matrix<Scalar> in_place = x;
  center(in_place, in_place);
  CHECK(same_bits(in_place, y));
  Matrix<Scalar> memory = Matrix<Scalar>::Constant(50, 6, 42);
  memory.block(3, 1, 37, 4) = x;
  center(memory.block(3, 1, 37, 4), memory.block(3, 1, 37, 4));
  CHECK(same_bits(memory.block(3, 1, 37, 4), y));
  memory.block(3, 1, 37, 4).setConstant(42);
  CHECK(same_bits(memory, Matrix<Scalar>::Constant(50, 6, 42)));
  Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> const row_major = x;
  CHECK(same_bits(center(row_major), y));
  CHECK(same_bits(center(x.transpose().transpose() * Scalar(1)), y));
}

TEMPLATE_TEST_CASE("center: bad columns stay bad alone; shapes and overlaps throw; empty is legal", "", float, double) {
  using Scalar = TestType;
  Matrix<Scalar> x = normal<Scalar>(20, 4, 612);
  Matrix<Scalar> const good = center(x);
  x(3, 1) = infinity<Scalar>;
  x(0, 2) = not_a_number<Scalar>;
  Matrix<Scalar> const y = center(x);
  CHECK(same_bits(y.col(0), good.col(0)));
  CHECK(same_bits(y.col(3), good.col(3)));
  CHECK(y.middleCols(1, 2).array().isNaN().all());
  Matrix<Scalar> narrow(20, 3);
  CHECK_THROWS_WITH(center(x, narrow), "center: x, y: 20x4 vs 20x3");
  CHECK_THROWS_AS(center(x.leftCols(3), x.rightCols(3)), std::invalid_argument);
  CHECK(center(Matrix<Scalar>(0, 4)).cols() == 4);
  CHECK(center(Matrix<Scalar>(4, 0)).rows() == 4);
}

// The mean of the fast mode: the sum of n - 1 differences d, each and the division rounded once, so within n u max|d|;
// then two subtractions, each of numbers up to 2 max|d|, round once.
TEMPLATE_TEST_CASE("center: the fast mode stays within its bound at every width, mean and place", "", float, double) {
  using Scalar = TestType;
  for (Index n : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 64, 100, 769}) {
    for (double const mean : {0.0, 1e3, -1e6}) {
      Matrix<Scalar> const x = normal<Scalar>(n, 11, 613, mean);
      Matrix<Scalar> y(n, 11);
      center(x, y, foldnorm::Accuracy::fast);
      for (Index j = 0; j < x.cols(); ++j) {
        WideMean const exact(x.col(j));
        Wide const spread = (x.col(j).array() - x(0, j)).abs().maxCoeff();
        Wide const tolerance = (static_cast<Wide>(n) + 4) * unit_roundoff<Scalar> * spread;
        for (Index i = 0; i < n; ++i) {
          INFO(n << " features, mean " << mean << ", at " << i << ", " << j);
          REQUIRE(std::abs(y(i, j) - ((static_cast<Wide>(x(i, j)) - exact.high) - exact.low)) <= tolerance);
        }
        Matrix<Scalar> alone(n, 1);
        center(x.col(j), alone, foldnorm::Accuracy::fast);
        CHECK(same_bits(alone, y.col(j)));
      }
      Matrix<Scalar> in_place = x;
      center(in_place, in_place, foldnorm::Accuracy::fast);
      CHECK(same_bits(in_place, y));
    }
  }
}

TEMPLATE_TEST_CASE("center: the fast mode, where it leaves the range, is the accurate one", "", float, double) {
  using Scalar = TestType;
  Matrix<Scalar> x = normal<Scalar>(20, 9, 614);
  x.col(1).setConstant(largest<Scalar>);
  x(4, 1) = -largest<Scalar>;
  x(3, 2) = infinity<Scalar>;
  x.col(7).setConstant(Scalar(1) / 3);
  Matrix<Scalar> y(20, 9);
  center(x, y, foldnorm::Accuracy::fast);
  CHECK(same_bits(y.col(1), center(Matrix<Scalar>(x.col(1)))));
  CHECK(y.col(2).array().isNaN().all());
  CHECK(y.col(7).isZero(0));
  for (Index j : {0, 3, 4, 5, 6, 8}) CHECK(y.col(j).allFinite());
  Matrix<Scalar> good = x, expected(20, 9);  // their neighbours have the bits that they have without them
  good.col(1) = good.col(0), good.col(2) = good.col(0);
  center(good, expected, foldnorm::Accuracy::fast);
  for (Index j : {0, 3, 4, 5, 6, 7, 8}) CHECK(same_bits(y.col(j), expected.col(j)));
  center(x, x, foldnorm::Accuracy::fast);
  CHECK(same_bits(x.col(0), y.col(0)));
  CHECK(same_bits(x.col(1), y.col(1)));
}
