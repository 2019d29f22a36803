// SPDX-License-Identifier: MIT
#include <foldnorm/losses/alignment_loss.hpp>

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "laws/differences.hpp"
#include "laws/inputs.hpp"

namespace {

using namespace foldnorm;
using laws::normal;

struct Gradients {
  double value;
  Matrix<double> da, db;
};
Gradients alignment(Matrix<double> const& a, Matrix<double> const& b, double weight = 1) {
  Gradients result{0, Matrix<double>::Zero(a.rows(), a.cols()), Matrix<double>::Zero(a.rows(), a.cols())};
  result.value = alignment_loss<double>(a, b, weight, result.da, result.db);
  return result;
}

}  // namespace

TEST_CASE("alignment loss: is the mean squared distance of unit vectors") {
  Matrix<double> const a = normal<double>(5, 8, 1501), b = normal<double>(5, 8, 1502);
  double const expected = (a.colwise().normalized() - b.colwise().normalized()).squaredNorm() / 8;
  CHECK(std::abs(alignment(a, b).value - expected) <= 1e-14);
  CHECK(std::abs(alignment(a, 3 * a).value) <= 1e-15);
  CHECK(std::abs(alignment(a, -a).value - 4) <= 1e-14);
}

TEST_CASE("alignment loss: gradients by differences; they are added, with their weight") {
  Matrix<double> a = normal<double>(4, 5, 1511), b = normal<double>(4, 5, 1512);
  Gradients const result = alignment(a, b);
  for (Index i = 0; i < a.size(); ++i) {
    CHECK(std::abs(result.da.data()[i] - laws::partial(a.data()[i], [&] { return alignment(a, b).value; })) <= 1e-10);
    CHECK(std::abs(result.db.data()[i] - laws::partial(b.data()[i], [&] { return alignment(a, b).value; })) <= 1e-10);
  }
  Matrix<double> da = Matrix<double>::Constant(4, 5, 7), db = da;
  alignment_loss<double>(a, b, .5, da, db);
  CHECK((da.array() - 7 - .5 * result.da.array()).matrix().norm() <= 1e-14);
  CHECK((db.array() - 7 - .5 * result.db.array()).matrix().norm() <= 1e-14);
}

TEST_CASE("alignment loss: zero columns have no gradient, NaN spoils its own column, no samples are 0") {
  Matrix<double> a = normal<double>(4, 3, 1521), b = normal<double>(4, 3, 1522);
  a.col(1).setZero();
  Gradients const zero = alignment(a, b);
  CHECK(zero.da.col(1).norm() == 0);
  CHECK(zero.da.allFinite());
  CHECK(zero.db.col(1).norm() == 0);
  a(2, 1) = std::numeric_limits<double>::quiet_NaN();
  Gradients const bad = alignment(a, b);
  CHECK(std::isnan(bad.value));
  CHECK(bad.da.col(1).array().isNaN().all());
  CHECK(bad.da.col(0) == zero.da.col(0));
  CHECK(bad.db.col(2) == zero.db.col(2));
  CHECK(alignment(Matrix<double>(4, 0), Matrix<double>(4, 0)).value == 0);
  Matrix<double> narrow(4, 2), wide(4, 3);
  CHECK_THROWS_AS(alignment_loss<double>(a, narrow, 1, wide, wide), shape_error);
  CHECK_THROWS_AS(alignment_loss<double>(a, b, 1, wide, wide), std::invalid_argument);
}

TEST_CASE("alignment loss: columns whose squares overflow or vanish have their angle all the same") {
  for (double const length : {1e-10, 1e200}) {
    Matrix<double> const a = normal<double>(3, 4, 1503), b = normal<double>(3, 4, 1504);
    CHECK(std::abs(alignment(length * a, b).value - alignment(a, b).value) <= 1e-14);
  }
}

TEST_CASE("alignment loss: gradients that overlap the views throw before anything is written") {
  Matrix<double> a = normal<double>(3, 4, 1505), b = normal<double>(3, 4, 1506);
  Matrix<double> const before = a;
  Matrix<double> other = Matrix<double>::Zero(3, 4);
  CHECK_THROWS_AS(alignment_loss<double>(a, b, 1, a, other), std::invalid_argument);
  CHECK_THROWS_AS(alignment_loss<double>(b, a, 1, other, a), std::invalid_argument);
  CHECK_THROWS_AS(alignment_loss<double>(a, b, 1, other, a), std::invalid_argument);
  CHECK(a == before);
  CHECK(other.isZero(0));
}
