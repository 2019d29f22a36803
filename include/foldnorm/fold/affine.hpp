// SPDX-License-Identifier: MIT
// foldnorm/fold/affine.hpp -- an affine map beside a linear layer is one linear layer.
//
//   A (W x + b) + c = (A W) x + (A b + c)        after the linear layer
//   W (A x + c) + b = (W A) x + (W c + b)        before it
//
// For whatever is affine at inference: a whitening layer with fixed statistics (InferenceWhitening::affine_map).
// Exact but for rounding: products in double, stored in the weights' type. A fold into the layer before is legal if
// nobody else reads that layer's output; one into the layer after, if that layer is the map's only reader.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>

namespace foldnorm {
namespace detail {

template <real_scalar Scalar>
void store_folded(Matrix<double> const& weight, Vector<double> const& bias, MatrixRef<Scalar> to_weight,
                  VectorRef<Scalar> to_bias, char const* what) {
  Matrix<Scalar> const rounded_weight = weight.template cast<Scalar>();
  Vector<Scalar> const rounded_bias = bias.template cast<Scalar>();
  if (!rounded_weight.allFinite() || !rounded_bias.allFinite()) {
    throw_invalid(what, ": the folded weights are not finite in their type");
  }
  to_weight = rounded_weight;
  to_bias = rounded_bias;
}

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
  detail::store_folded<Scalar>(a * weight.template cast<double>(),
                               a * bias.template cast<double>() + offset.template cast<double>(), weight, bias,
                               "fold_affine_after_linear");
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
  detail::store_folded<Scalar>(w * matrix.template cast<double>(),
                               w * offset.template cast<double>() + bias.template cast<double>(), weight, bias,
                               "fold_affine_before_linear");
}

}  // namespace foldnorm
