// SPDX-License-Identifier: MIT
#include <foldnorm/core/check.hpp>

#include <limits>
#include <stdexcept>
#include <type_traits>

#include "catch.hpp"

namespace {

using namespace foldnorm;

static_assert(std::is_base_of_v<std::invalid_argument, shape_error>);

bool overlap(MatrixRef<float> a, MatrixRef<float> b) { return views_overlap(a, b); }

}  // namespace

TEST_CASE("check_same_shape: the message carries function, arguments and both shapes") {
  Matrix<float> const a(7, 5), b(7, 6);
  CHECK_NOTHROW(check_same_shape(a, a, "center: x, y"));
  CHECK_THROWS_WITH(check_same_shape(a, b, "center: x, y"), "center: x, y: 7x5 vs 7x6");
  CHECK_THROWS_WITH(check_same_shape(a, b, {"center", "x, y"}), "center: x, y: 7x5 vs 7x6");
  CHECK_THROWS_AS(check_same_shape(a, b, "center: x, y"), shape_error);
}

TEST_CASE("check_size: the message carries both numbers") {
  CHECK_NOTHROW(check_size(4, 4, "f: gamma"));
  CHECK_THROWS_WITH(check_size(3, 4, "f: gamma"), "f: gamma: size 3, expected 4");
}

TEMPLATE_TEST_CASE("check_epsilon: finite and at least zero", "", float, double) {
  using Limits = std::numeric_limits<TestType>;
  for (TestType good : {TestType(0), TestType(-0.0), Limits::denorm_min(), Limits::max()}) {
    CHECK_NOTHROW(check_epsilon(good, "f"));
  }
  for (TestType bad : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity(), -Limits::denorm_min()}) {
    CHECK_THROWS_AS(check_epsilon(bad, "f"), std::invalid_argument);
  }
  CHECK_THROWS_WITH(check_epsilon(TestType(-0.5), "f"), Catch::StartsWith("f: eps is -0.5"));
}

TEST_CASE("views_overlap: by shared elements where strides agree, by address range where not") {
  Matrix<float> m(10, 8), other(10, 8);
  CHECK_FALSE(overlap(m, other));
  CHECK(overlap(m, m));
  CHECK_FALSE(overlap(m.leftCols(4), m.rightCols(4)));
  CHECK(overlap(m.leftCols(5), m.rightCols(4)));
  CHECK_FALSE(overlap(m.topRows(5), m.bottomRows(5)));
  CHECK_FALSE(overlap(m.bottomRows(5), m.topRows(5)));
  CHECK(overlap(m.topRows(6), m.bottomRows(5)));
  CHECK(overlap(m.bottomRows(5), m.topRows(6)));
  CHECK_FALSE(overlap(m.block(0, 0, 3, 4), m.block(3, 2, 3, 4)));
  CHECK(overlap(m.block(0, 0, 4, 4), m.block(3, 2, 3, 4)));
  CHECK_FALSE(overlap(m.topRows(0), m));
}

TEST_CASE("check_no_partial_overlap: the same view passes, a shifted one throws") {
  Matrix<float> m(10, 8);
  MatrixRef<float> whole(m), left(m.leftCols(5)), right(m.rightCols(5)), column(m.col(0)), one(m.leftCols(1));
  CHECK_NOTHROW(check_no_partial_overlap(whole, whole, "f: x, y"));
  CHECK_NOTHROW(check_no_partial_overlap(column, one, "f: x, y"));
  CHECK_THROWS_AS(check_no_partial_overlap(left, right, "f: x, y"), std::invalid_argument);
}

TEST_CASE("check_apart: a vector inside the written matrix throws, beside it passes, whatever its type") {
  Matrix<float> m(10, 8);
  MatrixRef<float> left(m.leftCols(5));
  CHECK_NOTHROW(check_apart(m.col(6), left, "f: gamma, y"));
  CHECK_THROWS_WITH(check_apart(m.col(4), left, "f: gamma, y"), "f: gamma, y: overlap in memory");
  CHECK_NOTHROW(check_apart(m.topRows(5), m.bottomRows(5), "f: s, y"));
  Eigen::Map<Vector<Eigen::half> const> const inside(reinterpret_cast<Eigen::half const*>(m.data() + 12), 3);
  CHECK_THROWS_AS(check_apart(inside, left, "f: gamma, y"), std::invalid_argument);
}
