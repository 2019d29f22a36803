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

static_assert(storage_scalar<Eigen::half> && storage_scalar<Eigen::bfloat16> && !storage_scalar<long double>);
static_assert(std::same_as<Compute<Eigen::half>, float> && std::same_as<Compute<double>, double>);

// gamma and beta: absent, or in the type of the matrix or the one it computes in; vectors and matrices of any kind.
static_assert(norm_parameter<none_t, float> && norm_parameter<Vector<float>, float>);
static_assert(norm_parameter<Matrix<float>, float> && norm_parameter<Eigen::VectorBlock<Vector<float> const>, float>);
static_assert(norm_parameter<Vector<float>, Eigen::half> && norm_parameter<Vector<Eigen::half>, Eigen::half>);
static_assert(!norm_parameter<Vector<double>, float> && !norm_parameter<float, float>);
static_assert(!norm_parameter<Vector<Eigen::half>, float>);

static_assert(std::convertible_to<none_t, OptionalOutput<float>>);
static_assert(std::convertible_to<Vector<float>&, OptionalOutput<float>>);
static_assert(std::convertible_to<Matrix<float>&, OptionalOutput<float>>);
static_assert(std::convertible_to<Vector<float>&, OptionalOutput<Eigen::half>>);
static_assert(!std::convertible_to<Vector<float> const&, OptionalOutput<float>>);
static_assert(!std::convertible_to<Vector<double>&, OptionalOutput<float>>);
static_assert(!std::convertible_to<Eigen::RowVectorXf&, OptionalOutput<float>>);
static_assert(!std::is_copy_constructible_v<OptionalOutput<float>>);

void fill(OptionalOutput<float> const& v, float value) {
  if (!v.present()) return;
  v.visit([&](float* data) {
    for (Index i = 0; i < v.size(); ++i) data[i] = value;
  });
}

}  // namespace

TEST_CASE("OptionalOutput: writes vectors, columns, segments and matrices, and nothing for none") {
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
  fill(m, 1);
  CHECK(m.sum() == 12);
}

TEST_CASE("OptionalOutput: knows a vector from a matrix, and the storage type from the type it computes in") {
  Vector<float> v(4);
  Matrix<float> m(4, 1);
  CHECK(OptionalOutput<float>(v).is_vector());
  CHECK_FALSE(OptionalOutput<float>(m).is_vector());
  Vector<Eigen::half> h(4);
  bool stored = false, computed = false;
  OptionalOutput<Eigen::half>(h).visit([&](auto* data) { stored = std::same_as<decltype(data), Eigen::half*>; });
  OptionalOutput<Eigen::half>(v).visit([&](auto* data) { computed = std::same_as<decltype(data), float*>; });
  CHECK(stored);
  CHECK(computed);
}
