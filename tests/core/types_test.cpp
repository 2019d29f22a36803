// SPDX-License-Identifier: MIT
#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/types.hpp>

#include <concepts>
#include <type_traits>

#include "catch.hpp"

namespace {

using namespace foldnorm;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

static_assert(real_scalar<float> && real_scalar<double>);
static_assert(!real_scalar<long double> && !real_scalar<int> && !real_scalar<float const>);
static_assert(dense_expression<Matrix<float>> && dense_expression<Vector<double>> && dense_expression<RowMajor>);
static_assert(dense_expression<Eigen::Product<Matrix<float>, Matrix<float>>>);
static_assert(!dense_expression<Matrix<int>> && !dense_expression<Eigen::ArrayXXf> && !dense_expression<float>);

static_assert(std::convertible_to<Matrix<float>&, MatrixRef<float>>);
static_assert(!std::convertible_to<RowMajor&, MatrixRef<float>>);
static_assert(!std::convertible_to<Eigen::Transpose<Matrix<float>>, MatrixRef<float>>);
static_assert(!std::convertible_to<Matrix<double>&, MatrixRef<float>>);
static_assert(std::convertible_to<RowMajor&, ConstMatrixRef<float>>);

static_assert(std::convertible_to<none_t, OptionalVector<float>>);
static_assert(std::convertible_to<Vector<float> const&, OptionalVector<float>>);
static_assert(!std::convertible_to<Vector<double> const&, OptionalVector<float>>);
static_assert(!std::is_copy_constructible_v<OptionalVector<float>>);
static_assert(std::convertible_to<none_t, OptionalVectorRef<float>>);
static_assert(std::convertible_to<Vector<float>&, OptionalVectorRef<float>>);
static_assert(!std::convertible_to<Vector<float> const&, OptionalVectorRef<float>>);
static_assert(!std::convertible_to<Vector<double>&, OptionalVectorRef<float>>);

Vector<float> copy(OptionalVector<float> const& v) { return Eigen::Map<Vector<float> const>(v.data(), v.size()); }
void fill(OptionalVectorRef<float> v, float value) {
  for (Index i = 0; i < v.size(); ++i) v.data()[i] = value;
}
Index size_of(OptionalVector<float> const& v) { return v.present() ? v.size() : -1; }

}  // namespace

TEST_CASE("OptionalVector: none and {} are absent, an empty vector is present") {
  CHECK(size_of(none) == -1);
  CHECK(size_of({}) == -1);
  CHECK(OptionalVector<float>(none).data() == nullptr);
  CHECK(size_of(Vector<float>(0)) == 0);
}

TEST_CASE("OptionalVector: a contiguous vector is referred to, anything else is copied") {
  Vector<float> const v = Vector<float>::LinSpaced(5, 1, 5);
  CHECK(OptionalVector<float>(v).data() == v.data());
  CHECK(OptionalVector<float>(v.segment(1, 3)).data() == v.data() + 1);
  Matrix<float> rows(2, 5);
  rows.row(1) = v.transpose();
  CHECK(copy(rows.row(1).transpose()) == v);
  CHECK(copy(v.reverse()) == v.reverse());
  CHECK(copy(2 * v) == 2 * v);
}

TEST_CASE("OptionalVectorRef: writes vectors, columns and segments, and nothing for none") {
  Vector<float> v = Vector<float>::Zero(4);
  fill(none, 1);
  fill({}, 1);
  fill(v, 2);
  CHECK(v == Vector<float>::Constant(4, 2));
  fill(v.segment(1, 2), 3);
  CHECK(v[0] == 2);
  CHECK(v[2] == 3);
  Matrix<float> m = Matrix<float>::Zero(4, 3);
  fill(m.col(1), 5);
  CHECK(m.sum() == 20);
  Eigen::Map<Vector<float>> map(m.data(), 4);
  fill(map, 1);
  CHECK(m.sum() == 24);
}
