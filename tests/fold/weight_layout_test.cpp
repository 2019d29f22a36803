// SPDX-License-Identifier: MIT
// tests/fold/weight_layout_test.cpp -- every storage of a weight, seen as fibres along its output axis.
#include <foldnorm/fold/weight_layout.hpp>

#include "catch.hpp"

#include <stdexcept>
#include <type_traits>
#include <vector>

using namespace foldnorm;

namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Fibre f as a column of a matrix: what the layout says lies there.
template <class Scalar>
Matrix<double> fibres_of(WeightLayout<Scalar> const& layout) {
  Matrix<double> result(layout.outputs, layout.fibres());
  for (Index f = 0; f < layout.fibres(); ++f) {
    for (Index i = 0; i < layout.outputs; ++i) {
      result(i, f) = static_cast<double>(layout.fibre(f)[i * layout.output_stride]);
    }
  }
  return result;
}

Matrix<double> counted(Index rows, Index columns) {
  return Matrix<double>::NullaryExpr(rows, columns,
                                     [](Index i, Index j) { return static_cast<double>(10 * i + j + 1); });
}

template <class W>
concept has_layout = requires(W w) {
  out_by_in(w);
};

}  // namespace

TEST_CASE("weight_layout: out_by_in takes columns as fibres, in either storage order") {
  Matrix<double> w = counted(3, 4);
  RowMajor r = w;
  CHECK(fibres_of(out_by_in(w)) == w);
  CHECK(fibres_of(out_by_in(r)) == w);
  CHECK(out_by_in(w).output_stride == 1);
  CHECK(out_by_in(r).output_stride == 4);
}

TEST_CASE("weight_layout: in_by_out takes rows as fibres, in either storage order") {
  Matrix<double> w = counted(3, 4);
  RowMajor r = w;
  CHECK(fibres_of(in_by_out(w)) == w.transpose());
  CHECK(fibres_of(in_by_out(r)) == w.transpose());
}

TEST_CASE("weight_layout: blocks, maps with strides and transposed views are seen in place") {
  Matrix<double> big = counted(6, 8);
  Matrix<double> const inner = big.block(1, 2, 3, 4);
  CHECK(fibres_of(out_by_in(big.block(1, 2, 3, 4))) == inner);
  CHECK(fibres_of(in_by_out(big.block(1, 2, 3, 4))) == inner.transpose());
  CHECK(fibres_of(out_by_in(big.transpose().block(2, 1, 4, 3))) == inner.transpose());
  using Strided = Eigen::Map<Matrix<double>, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  Strided strided(big.data(), 3, 4,
                  Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(12, 2));  // every other row and column
  Matrix<double> expected(3, 4);
  for (Index i = 0; i < 3; ++i) {
    for (Index j = 0; j < 4; ++j) expected(i, j) = big(2 * i, 2 * j);
  }
  CHECK(fibres_of(out_by_in(strided)) == expected);
  CHECK(fibres_of(in_by_out(strided)) == expected.transpose());
  // Writing through a layout reaches the caller's matrix.
  out_by_in(strided).fibre(1)[1 * 2] = -7;
  CHECK(big(2, 2) == -7);
}

TEST_CASE("weight_layout: a const weight has a layout that only reads") {
  Matrix<double> const w = counted(2, 2);
  STATIC_REQUIRE(std::is_same_v<decltype(out_by_in(w)), WeightLayout<double const>>);
  CHECK(fibres_of(out_by_in(w)) == w);
}

TEST_CASE("weight_layout: a vector of outputs is one fibre, a row in is one column each") {
  Vector<double> v = counted(5, 1);
  CHECK(fibres_of(out_by_in(v)) == v);
  Eigen::RowVectorXd row = v.transpose();
  CHECK(fibres_of(in_by_out(row)) == v);
  CHECK(out_by_in(row).outputs == 1);
  CHECK(out_by_in(row).fibres() == 5);
}

TEST_CASE("weight_layout: a convolution's fibres run over its outputs, one for each (channel, tap)") {
  // [out][in][tap] = 100 out + 10 in + tap
  std::vector<double> kernel;
  for (int o = 0; o < 3; ++o) {
    for (int c = 0; c < 2; ++c) {
      for (int t = 0; t < 4; ++t) kernel.push_back(100 * o + 10 * c + t);
    }
  }
  Matrix<double> const f = fibres_of(convolution_kernel(kernel.data(), 3, 2, 4));
  REQUIRE(f.rows() == 3);
  REQUIRE(f.cols() == 8);
  for (int o = 0; o < 3; ++o) {
    for (int c = 0; c < 2; ++c) {
      for (int t = 0; t < 4; ++t) CHECK(f(o, 4 * c + t) == 100 * o + 10 * c + t);
    }
  }
}

TEST_CASE("weight_layout: a transposed convolution keeps its outputs in the middle") {
  // [in][out][tap] = 100 in + 10 out + tap
  std::vector<double> kernel;
  for (int c = 0; c < 2; ++c) {
    for (int o = 0; o < 3; ++o) {
      for (int t = 0; t < 4; ++t) kernel.push_back(100 * c + 10 * o + t);
    }
  }
  Matrix<double> const f = fibres_of(transposed_convolution_kernel(kernel.data(), 2, 3, 4));
  REQUIRE(f.rows() == 3);
  REQUIRE(f.cols() == 8);
  for (int c = 0; c < 2; ++c) {
    for (int o = 0; o < 3; ++o) {
      for (int t = 0; t < 4; ++t) CHECK(f(o, 4 * c + t) == 100 * c + 10 * o + t);
    }
  }
}

TEST_CASE("weight_layout: negative sizes are refused, sizes of zero are not") {
  std::vector<double> kernel(4);
  CHECK_THROWS_AS(convolution_kernel(kernel.data(), -1, 2, 2), std::invalid_argument);
  CHECK_THROWS_AS(convolution_kernel(kernel.data(), 1, -2, 2), std::invalid_argument);
  CHECK_THROWS_AS(transposed_convolution_kernel(kernel.data(), 1, 2, -2), std::invalid_argument);
  CHECK(convolution_kernel(kernel.data(), 4, 0, 1).fibres() == 0);
}

TEST_CASE("weight_layout: weights are float, double, half or bfloat16 that can be addressed, nothing else") {
  STATIC_REQUIRE(has_layout<Matrix<float>&>);
  STATIC_REQUIRE(has_layout<Eigen::Matrix<Eigen::half, 3, 2>&>);
  STATIC_REQUIRE(has_layout<Eigen::Matrix<Eigen::bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>&>);
  STATIC_REQUIRE_FALSE(has_layout<Eigen::MatrixXi&>);
  STATIC_REQUIRE_FALSE(has_layout<Eigen::MatrixXcd&>);
  STATIC_REQUIRE_FALSE(has_layout<std::vector<double>&>);
  STATIC_REQUIRE_FALSE(has_layout<decltype(Matrix<double>() + Matrix<double>())>);  // a sum has no address
  STATIC_REQUIRE_FALSE(weight_scalar<int>);
  STATIC_REQUIRE_FALSE(weight_scalar<long double>);
}

TEST_CASE("weight_layout: how many inputs the fibres belong to") {
  Matrix<double> w = counted(3, 4);
  std::vector<double> kernel(24);
  CHECK(out_by_in(w).inputs() == 4);
  CHECK(in_by_out(w).inputs() == 3);
  CHECK(convolution_kernel(kernel.data(), 3, 2, 4).inputs() == 2);
  CHECK(transposed_convolution_kernel(kernel.data(), 2, 3, 4).inputs() == 2);
  CHECK(convolution_kernel(kernel.data(), 3, 2, 0).inputs() == 0);
}
