// SPDX-License-Identifier: MIT
// foldnorm/fold/affine.hpp -- an affine map beside a linear layer is one linear layer.
//
//   A (W x + b) + c = (A W) x + (A b + c)        after the linear layer
//   W (A x + c) + b = (W A) x + (W c + b)        before it
//   W (gamma .* x + beta) + b = (W diag(gamma)) x + (W beta + b)        before it, one gain and shift a feature
//
// For whatever is affine at inference: a whitening layer with fixed statistics (InferenceWhitening::affine_map); gamma
// and beta of a norm, which is then the bare x / rms(x) (FlashNorm, arXiv:2407.09577, for RMSNorm). Exact but for
// rounding: products in double, stored in the weights' type. A fold into the layer before is legal if nobody else reads
// that layer's output; one into layers after it, if they are the map's only readers and each of them takes it.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/fold/weight_layout.hpp>

namespace foldnorm {
namespace detail {

// outputs x fibres.
template <class Scalar>
Matrix<double> weight_values(WeightLayout<Scalar> const& weight) {
  return Matrix<double>::NullaryExpr(weight.outputs, weight.fibres(), [&](Index o, Index f) {
    return static_cast<double>(weight.fibre(f)[o * weight.output_stride]);
  });
}

template <class Scalar>
void write_weight(Matrix<Scalar> const& values, WeightLayout<Scalar> const& to) {
  for (Index f = 0; f < to.fibres(); ++f) {
    for (Index o = 0; o < to.outputs; ++o) to.fibre(f)[o * to.output_stride] = values(o, f);
  }
}

// Both, or neither.
template <class W, class B>
void store_folded(Matrix<double> const& weight, Matrix<double> const& bias, WeightLayout<W> const& to_weight,
                  WeightLayout<B> const& to_bias, char const* function) {
  Matrix<W> const rounded_weight = weight.cast<W>();
  Matrix<B> const rounded_bias = bias.cast<B>();
  if (!rounded_weight.template cast<double>().allFinite() || !rounded_bias.template cast<double>().allFinite()) {
    throw_invalid(function, ": the folded weights are not finite in their type");
  }
  write_weight(rounded_weight, to_weight);
  write_weight(rounded_bias, to_bias);
}

// Gain and shift of the inputs that a weight reads, its outputs in `groups` blocks that read one block of the inputs
// each. An empty gamma is ones, an empty beta zeros.
struct InputAffine {
  ConstVectorRef<double> const& gamma;
  ConstVectorRef<double> const& beta;
  Index groups;

  template <class Scalar>
  void check(WeightLayout<Scalar> const& weight) const {
    if (groups < 1 || weight.outputs % groups != 0) {
      throw_invalid("fold_affine: groups", " do not divide the outputs of weight");
    }
    Index const inputs = weight.inputs() * groups;
    if (gamma.size() != 0) check_size(gamma.size(), inputs, "fold_affine: gamma, inputs of weight");
    if (beta.size() != 0) check_size(beta.size(), inputs, "fold_affine: beta, inputs of weight");
  }
  // W diag(gamma) and W beta.
  template <class Scalar>
  Matrix<double> scaled(WeightLayout<Scalar> const& weight) const {
    Matrix<double> values = weight_values(weight);
    if (gamma.size() == 0) return values;
    return Matrix<double>::NullaryExpr(values.rows(), values.cols(),
                                       [&](Index o, Index f) { return values(o, f) * gamma(input(weight, o, f)); });
  }
  template <class Scalar>
  Matrix<double> shifts(WeightLayout<Scalar> const& weight) const {
    Matrix<double> sums = Matrix<double>::Zero(weight.outputs, 1);
    if (beta.size() == 0) return sums;
    Matrix<double> const values = weight_values(weight);
    for (Index f = 0; f < values.cols(); ++f) {
      for (Index o = 0; o < values.rows(); ++o) sums(o, 0) += values(o, f) * beta(input(weight, o, f));
    }
    return sums;
  }

 private:
  template <class Scalar>
  Index input(WeightLayout<Scalar> const& weight, Index output, Index fibre) const {
    return output / (weight.outputs / groups) * weight.inputs() + fibre / weight.taps;
  }
};

}  // namespace detail

// weight (out x in) and bias (out) become those of the map (matrix: out x out, offset: out) after the linear layer.
// Throws before anything is written: shape_error, std::invalid_argument for results that are not finite.
template <real_scalar Scalar>
void fold_affine_after_linear(ConstMatrixRef<Scalar> const& matrix, ConstVectorRef<Scalar> const& offset,
                              MatrixRef<Scalar> weight, VectorRef<Scalar> bias) {
  check_size(matrix.rows(), matrix.cols(), "fold_affine_after_linear: rows of a square matrix");
  check_size(weight.rows(), matrix.cols(), "fold_affine_after_linear: outputs of weight");
  check_size(offset.size(), matrix.rows(), "fold_affine_after_linear: offset");
  check_size(bias.size(), weight.rows(), "fold_affine_after_linear: bias");
  Matrix<double> const a = matrix.template cast<double>();
  detail::store_folded(a * weight.template cast<double>(),
                       a * bias.template cast<double>() + offset.template cast<double>(), out_by_in(weight),
                       out_by_in(bias), "fold_affine_after_linear");
}

// weight (out x in) and bias (out) become those of the linear layer after the map (matrix: in x in, offset: in).
template <real_scalar Scalar>
void fold_affine_before_linear(ConstMatrixRef<Scalar> const& matrix, ConstVectorRef<Scalar> const& offset,
                               MatrixRef<Scalar> weight, VectorRef<Scalar> bias) {
  check_size(matrix.rows(), matrix.cols(), "fold_affine_before_linear: rows of a square matrix");
  check_size(weight.cols(), matrix.rows(), "fold_affine_before_linear: inputs of weight");
  check_size(offset.size(), matrix.rows(), "fold_affine_before_linear: offset");
  check_size(bias.size(), weight.rows(), "fold_affine_before_linear: bias");
  Matrix<double> const w = weight.template cast<double>();
  detail::store_folded(w * matrix.template cast<double>(),
                       w * offset.template cast<double>() + bias.template cast<double>(), out_by_in(weight),
                       out_by_in(bias), "fold_affine_before_linear");
}

// weight and bias become those of y = W (gamma .* x + beta) + b as a layer that reads x. `weight` is any layout of
// weight_layout.hpp; of a convolution with `groups`, that of its kernel [out, in / groups, taps...]. gamma and beta
// have one entry an input (in all groups together); an empty gamma means ones, an empty beta zeros. `bias` is a vector
// of the outputs, a row or a column. Throws before anything is written: shape_error; std::invalid_argument if groups do
// not divide the outputs, or a result is not finite in its type.
//
// A convolution of several taps takes the sum of beta's products over all of them, which is right where every output
// sees all its taps: without padding. Zeros around the image are no beta, so that a padded convolution, or a transposed
// one, can only take gamma.
template <class Scalar, writable_matrix B>
void fold_affine(WeightLayout<Scalar> const& weight, B&& bias, ConstVectorRef<double> const& gamma,
                 ConstVectorRef<double> const& beta, Index groups = 1) {
  auto const to_bias = detail::bias_layout(bias, weight.outputs, "fold_affine");
  detail::InputAffine const affine{gamma, beta, groups};
  affine.check(weight);
  detail::store_folded(affine.scaled(weight), detail::weight_values(to_bias) + affine.shifts(weight), weight, to_bias,
                       "fold_affine");
}

// ... without a beta: W diag(gamma), whatever bias there is.
template <class Scalar>
void fold_affine(WeightLayout<Scalar> const& weight, ConstVectorRef<double> const& gamma, Index groups = 1) {
  Vector<double> const no_beta;
  Matrix<Scalar> no_bias;
  ConstVectorRef<double> const beta(no_beta);
  detail::InputAffine const affine{gamma, beta, groups};
  affine.check(weight);
  detail::store_folded(affine.scaled(weight), Matrix<double>(), weight, out_by_in(no_bias), "fold_affine");
}

// W out x in, in either storage order.
template <writable_matrix W, writable_matrix B>
void fold_affine(W&& weight, B&& bias, ConstVectorRef<double> const& gamma, ConstVectorRef<double> const& beta) {
  fold_affine(out_by_in(weight), bias, gamma, beta);
}
template <writable_matrix W>
void fold_affine(W&& weight, ConstVectorRef<double> const& gamma) {
  fold_affine(out_by_in(weight), gamma);
}

}  // namespace foldnorm
