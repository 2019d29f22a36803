// SPDX-License-Identifier: MIT
#include <foldnorm/fold/affine.hpp>

#include <limits>
#include <stdexcept>
#include <vector>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "whitening/instances.hpp"

namespace {

using namespace foldnorm;
using laws::normal;

// An IterNorm at inference whose statistics a few batches have formed, as an affine map.
template <class Scalar>
AffineMap<Scalar> trained_norm(Index features, unsigned seed) {
  IterNorm<Scalar> norm(features, {.group_size = 4});
  norm.gamma = normal<Scalar>(features, 1, seed, 1, .2);
  norm.beta = normal<Scalar>(features, 1, seed + 1);
  typename IterNorm<Scalar>::Cache cache;
  Matrix<Scalar> y(features, 50);
  for (unsigned batch = 0; batch < 5; ++batch) {
    norm.forward(normal<Scalar>(features, 50, seed + 2 + batch, 1, 2), y, cache);
    norm.update_running(cache);
  }
  return norm.inference()->affine_map();
}

template <class Scalar>
Scalar const tolerance = std::is_same_v<Scalar, float> ? Scalar(1e-5) : Scalar(1e-13);

// Small integers: every product and sum below is exact in every type, so that results are equal or wrong.
template <class Scalar>
Matrix<Scalar> whole_numbers(Index rows, Index columns, unsigned seed) {
  return Matrix<Scalar>(laws::uniform<double>(rows, columns, seed, -3, 3).array().round().matrix().cast<Scalar>());
}
template <class Scalar>
using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// gamma .* x + beta, token by token.
Matrix<double> affine(Matrix<double> const& x, Vector<double> const& gamma, Vector<double> const& beta) {
  return (gamma.asDiagonal() * x).colwise() + beta;
}
template <class W, class B>
Matrix<double> linear(W const& weight, B const& bias, Matrix<double> const& x) {
  Matrix<double> const product = weight.template cast<double>() * x;
  return product.colwise() + Vector<double>(bias.template cast<double>().reshaped());
}

// A convolution without padding over columns, kernel [out, in / groups, taps].
template <class Scalar>
Matrix<double> convolve(std::vector<Scalar> const& kernel, Vector<Scalar> const& bias, Matrix<double> const& x,
                        Index taps, Index groups) {
  Index const outputs = bias.size(), group_in = x.rows() / groups, group_out = outputs / groups;
  Matrix<double> y(outputs, x.cols() - taps + 1);
  for (Index o = 0; o < outputs; ++o) {
    for (Index j = 0; j < y.cols(); ++j) {
      y(o, j) = static_cast<double>(bias(o));
      for (Index c = 0; c < group_in; ++c) {
        for (Index t = 0; t < taps; ++t) {
          double const k = static_cast<double>(kernel[static_cast<std::size_t>((o * group_in + c) * taps + t)]);
          y(o, j) += k * x(o / group_out * group_in + c, j + t);
        }
      }
    }
  }
  return y;
}

}  // namespace

TEMPLATE_TEST_CASE("fold affine: an IterNorm at inference disappears into the linear layer before or after it", "",
                   float, double) {
  using Scalar = TestType;
  AffineMap<Scalar> const norm = trained_norm<Scalar>(6, 1601);
  Matrix<Scalar> const x = normal<Scalar>(9, 20, 1611);
  Matrix<Scalar> weight = normal<Scalar>(6, 9, 1612);
  Vector<Scalar> bias = normal<Scalar>(6, 1, 1613);
  Matrix<Scalar> const hidden = (weight * x).colwise() + bias;
  Matrix<Scalar> const expected = (norm.matrix * hidden).colwise() + norm.bias;
  fold_affine_after_linear<Scalar>(norm.matrix, norm.bias, weight, bias);
  CHECK(((weight * x).colwise() + bias - expected).norm() <= tolerance<Scalar> * expected.norm());

  Matrix<Scalar> next = normal<Scalar>(3, 6, 1621);
  Vector<Scalar> next_bias = normal<Scalar>(3, 1, 1622);
  Matrix<Scalar> const output = (next * expected).colwise() + next_bias;
  fold_affine_before_linear<Scalar>(norm.matrix, norm.bias, next, next_bias);
  CHECK(((next * hidden).colwise() + next_bias - output).norm() <= tolerance<Scalar> * output.norm());
}

TEST_CASE("fold affine: mistakes and infinite results throw, and leave everything as it was") {
  Matrix<float> weight = normal<float>(4, 3, 1631);
  Vector<float> bias = normal<float>(4, 1, 1632), offset = normal<float>(4, 1, 1633);
  Matrix<float> const before = weight;
  Vector<float> const bias_before = bias;
  Matrix<float> map = normal<float>(4, 4, 1634);
  CHECK_THROWS_AS(fold_affine_after_linear<float>(map.topRows(3), offset, weight, bias), shape_error);
  CHECK_THROWS_AS(fold_affine_before_linear<float>(map, offset, weight, bias), shape_error);
  CHECK_THROWS_AS(fold_affine_after_linear<float>(map, offset.head(3), weight, bias), shape_error);
  CHECK_THROWS_AS(fold_affine_after_linear<float>(map, offset, weight, bias.head(3)), shape_error);
  map(0, 0) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(fold_affine_after_linear<float>(map, offset, weight, bias), std::invalid_argument);
  CHECK(weight == before);
  CHECK(bias == bias_before);
}

TEMPLATE_TEST_CASE("fold_affine: gain and shift move into the layer that reads them, however its weight is stored", "",
                   double, Eigen::half) {
  using Scalar = TestType;
  Matrix<double> const x = whole_numbers<double>(4, 5, 1641);
  Vector<double> const gamma = whole_numbers<double>(4, 1, 1642), beta = whole_numbers<double>(4, 1, 1643);
  Matrix<Scalar> const w = whole_numbers<Scalar>(3, 4, 1644);
  Vector<Scalar> const b = whole_numbers<Scalar>(3, 1, 1645);
  Matrix<double> const expected = linear(w, b, affine(x, gamma, beta));

  Matrix<Scalar> plain = w;
  Vector<Scalar> bias = b;
  fold_affine(plain, bias, gamma, beta);
  CHECK(linear(plain, bias, x) == expected);
  CHECK(plain != w);
  CHECK(bias != b);

  RowMajor<Scalar> row_major = w;
  Eigen::Matrix<Scalar, 1, Eigen::Dynamic> lying = b.transpose();
  fold_affine(row_major, lying, gamma, beta);
  CHECK(linear(row_major, lying, x) == expected);

  Matrix<Scalar> transposed = w.transpose();
  bias = b;
  fold_affine(in_by_out(transposed), bias, gamma, beta);
  CHECK(linear(transposed.transpose(), bias, x) == expected);

  Matrix<Scalar> around = Matrix<Scalar>::Constant(6, 7, Scalar(9));
  around.block(1, 2, 3, 4) = w;
  bias = b;
  fold_affine(around.block(1, 2, 3, 4), bias, gamma, beta);
  CHECK(linear(around.block(1, 2, 3, 4), bias, x) == expected);
  around.block(1, 2, 3, 4).setConstant(Scalar(9));
  CHECK(around == Matrix<Scalar>::Constant(6, 7, Scalar(9)));
}

TEST_CASE("fold_affine: convolutions, grouped and depthwise ones") {
  using Scalar = float;
  for (Index const groups : {1, 2, 4}) {
    for (Index const taps : {1, 3}) {
      CAPTURE(groups, taps);
      Index const in = 4, out = 8;
      Matrix<double> const x = whole_numbers<double>(in, 6, 1651);
      Vector<double> const gamma = whole_numbers<double>(in, 1, 1652), beta = whole_numbers<double>(in, 1, 1653);
      Vector<Scalar> bias = whole_numbers<Scalar>(out, 1, 1654);
      Matrix<Scalar> const numbers = whole_numbers<Scalar>(out * (in / groups) * taps, 1, 1655);
      std::vector<Scalar> kernel(numbers.data(), numbers.data() + numbers.size());
      Matrix<double> const expected = convolve(kernel, bias, affine(x, gamma, beta), taps, groups);
      fold_affine(convolution_kernel(kernel.data(), out, in / groups, taps), bias, gamma, beta, groups);
      CHECK(convolve(kernel, bias, x, taps, groups) == expected);
    }
  }
}

TEST_CASE("fold_affine: a transposed convolution takes a gain") {
  // Kernel [in = 2, out = 3, taps = 2]: everything that input c sends out is multiplied by gamma(c).
  std::vector<double> kernel{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  fold_affine(transposed_convolution_kernel(kernel.data(), 2, 3, 2), Vector<double>{{2.0, -1.0}});
  CHECK(kernel == std::vector<double>{2, 4, 6, 8, 10, 12, -7, -8, -9, -10, -11, -12});
}

TEST_CASE("fold_affine: gain alone, shift alone, and neither") {
  Matrix<double> const w{{1.0, 2.0}, {3.0, 5.0}};
  Vector<double> const b{{1.0, -1.0}}, gamma{{2.0, 3.0}}, beta{{1.0, -2.0}}, nothing;
  Matrix<double> weight = w;
  Vector<double> bias = b;
  fold_affine(weight, gamma);
  CHECK(weight == Matrix<double>{{2.0, 6.0}, {6.0, 15.0}});
  weight = w;
  fold_affine(weight, bias, gamma, nothing);
  CHECK(weight == Matrix<double>{{2.0, 6.0}, {6.0, 15.0}});
  CHECK(bias == b);
  weight = w;
  fold_affine(weight, bias, nothing, beta);
  CHECK(weight == w);
  CHECK(bias == Vector<double>{{-2.0, -8.0}});
  bias = b;
  fold_affine(weight, bias, nothing, nothing);
  CHECK(weight == w);
  CHECK(bias == b);
}

TEST_CASE("fold_affine: a layer with one output, whose weight is a row") {
  Eigen::RowVectorXd weight{{1.0, 2.0, 3.0}};
  Vector<double> bias{{10.0}};
  fold_affine(weight, bias, Vector<double>{{2.0, 3.0, 4.0}}, Vector<double>{{1.0, 0.0, -1.0}});
  CHECK(weight == Eigen::RowVectorXd{{2.0, 6.0, 12.0}});
  CHECK(bias == Vector<double>{{8.0}});
}

TEMPLATE_TEST_CASE("fold_affine: products and sums are rounded once, from double", "", float, Eigen::bfloat16) {
  using Scalar = TestType;
  Matrix<Scalar> const w = normal<Scalar>(5, 30, 1661);
  Vector<Scalar> const b = normal<Scalar>(5, 1, 1662);
  Vector<double> const gamma = normal<double>(30, 1, 1663), beta = normal<double>(30, 1, 1664);
  Matrix<Scalar> weight = w;
  Vector<Scalar> bias = b;
  fold_affine(weight, bias, gamma, beta);
  Matrix<double> const wide = w.template cast<double>();
  CHECK(weight == Matrix<double>(wide * gamma.asDiagonal()).template cast<Scalar>());
  // The order of the sum may differ: in double, where it is far below one rounding of these types but for ties.
  Vector<double> const sum = b.template cast<double>() + wide * beta;
  double const unit = std::is_same_v<Scalar, float> ? 0x1p-24 : 0x1p-8;
  CHECK((bias.template cast<double>() - sum).cwiseAbs().maxCoeff() <= 1.01 * unit * sum.cwiseAbs().maxCoeff());
}

TEST_CASE("fold_affine: mistakes and results that do not fit throw, and leave everything as it was") {
  using Scalar = Eigen::half;
  Matrix<Scalar> const w = normal<Scalar>(4, 6, 1671);
  Vector<Scalar> const b = normal<Scalar>(4, 1, 1672);
  Matrix<Scalar> weight = w;
  Vector<Scalar> bias = b;
  Vector<double> const gamma = normal<double>(6, 1, 1673), beta = normal<double>(6, 1, 1674);
  CHECK_THROWS_AS(fold_affine(weight, gamma.head(5)), shape_error);
  CHECK_THROWS_AS(fold_affine(weight, gamma.head(3)), shape_error);  // no two taps for each
  CHECK_THROWS_AS(fold_affine(weight, bias, gamma, beta.head(4)), shape_error);
  CHECK_THROWS_AS(fold_affine(weight, bias.head(3), gamma, beta), shape_error);
  CHECK_THROWS_AS(fold_affine(out_by_in(weight), bias, gamma, beta, 2), shape_error);
  CHECK_THROWS_AS(fold_affine(out_by_in(weight), gamma, 3), std::invalid_argument);
  CHECK_THROWS_AS(fold_affine(out_by_in(weight), gamma, 0), std::invalid_argument);
  for (double const bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN(), 1e300}) {
    CAPTURE(bad);
    Vector<double> wrong = gamma;
    wrong(2) = bad;
    CHECK_THROWS_AS(fold_affine(weight, wrong), std::invalid_argument);
    CHECK_THROWS_AS(fold_affine(weight, bias, wrong, beta), std::invalid_argument);
    CHECK_THROWS_AS(fold_affine(weight, bias, gamma, wrong), std::invalid_argument);
  }
  CHECK(weight == w);
  CHECK(bias == b);
}

TEST_CASE("fold_affine: no inputs, no outputs, no taps") {
  Matrix<double> none_in(3, 0), none_out(0, 2);
  Vector<double> bias{{1.0, 2.0, 3.0}}, nothing;
  fold_affine(none_in, bias, nothing, nothing);
  CHECK(bias == Vector<double>{{1.0, 2.0, 3.0}});
  fold_affine(none_out, nothing, Vector<double>{{1.0, 2.0}}, Vector<double>{{1.0, 2.0}});
  std::vector<double> kernel;
  CHECK_THROWS_AS(fold_affine(convolution_kernel(kernel.data(), 3, 2, 0), Vector<double>{{1.0, 2.0}}), shape_error);
}
