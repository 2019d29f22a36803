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
#include <foldnorm/core/rounding.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/fold/weight_layout.hpp>

#include <cmath>

namespace foldnorm::inline FOLDNORM_ABI {
namespace detail {

// outputs x fibres.
template <class Scalar>
Matrix<double> weight_values(WeightLayout<Scalar> const& weight) {
  Matrix<double> values(weight.outputs, weight.fibres());
  for (Index f = 0; f < values.cols(); ++f) {
    for (Index o = 0; o < values.rows(); ++o) {
      values(o, f) = static_cast<double>(weight.fibre(f)[o * weight.output_stride]);
    }
  }
  return values;
}

// A layout's new values, before they are written.
template <class Scalar>
void check_storable(Matrix<double> const& values, WeightLayout<Scalar> const&, char const* function) {
  for (Index i = 0; i < values.size(); ++i) {
    if (!std::isfinite(static_cast<double>(round_once<Scalar>(values.data()[i])))) {
      throw_invalid(function, ": the folded weights are not finite in their type");
    }
  }
}
template <class Scalar>
void write_weight(Matrix<double> const& values, WeightLayout<Scalar> const& to) {
  for (Index f = 0; f < to.fibres(); ++f) {
    for (Index o = 0; o < to.outputs; ++o) to.fibre(f)[o * to.output_stride] = round_once<Scalar>(values(o, f));
  }
}

// Both, or neither.
template <class W, class B>
void store_folded(Matrix<double> const& weight, Matrix<double> const& bias, WeightLayout<W> const& to_weight,
                  WeightLayout<B> const& to_bias, char const* function) {
  check_storable(weight, to_weight, function);
  check_storable(bias, to_bias, function);
  write_weight(weight, to_weight);
  write_weight(bias, to_bias);
}

// What reads a gain and shift: a weight (outputs x fibres) with so many taps an input, its outputs in `groups` blocks
// that read one block of the inputs each. An empty gamma is ones, an empty beta zeros. Works in place: the weight may
// be large.
template <class Scalar>
class AffineReader {
 public:
  AffineReader(WeightLayout<Scalar> const& weight, ConstVectorRef<double> const& gamma,
               ConstVectorRef<double> const& beta, Index groups)
      : weight_(weight), groups_(groups) {
    if (groups < 1 || weight.outputs % groups != 0) {
      throw_invalid("fold_affine: groups", " do not divide the outputs of weight");
    }
    Index const inputs = weight.inputs() * groups;
    if (gamma.size() != 0) check_size(gamma.size(), inputs, "fold_affine: gamma, inputs of weight");
    if (beta.size() != 0) check_size(beta.size(), inputs, "fold_affine: beta, inputs of weight");
  }

  // W beta.
  Matrix<double> shifts(ConstVectorRef<double> const& beta) const {
    Matrix<double> sums = Matrix<double>::Zero(weight_.outputs, 1);
    if (beta.size() == 0) return sums;
    for_each([&](Scalar const& entry, Index output, Index input) {
      sums(output, 0) += static_cast<double>(entry) * beta(input);
    });
    return sums;
  }
  // Can W diag(gamma) be stored? Throws std::invalid_argument if not.
  void check_scaled(ConstVectorRef<double> const& gamma) const {
    bool all_finite = true;
    for_each([&](Scalar const& entry, Index, Index input) {
      all_finite = all_finite && std::isfinite(static_cast<double>(scaled(entry, gamma, input)));
    });
    if (!all_finite) throw_invalid("fold_affine", ": the folded weights are not finite in their type");
  }
  // W becomes W diag(gamma).
  void scale(ConstVectorRef<double> const& gamma) const {
    if (gamma.size() == 0) return;
    for_each([&](Scalar& entry, Index, Index input) { entry = scaled(entry, gamma, input); });
  }

 private:
  static Scalar scaled(Scalar entry, ConstVectorRef<double> const& gamma, Index input) {
    return gamma.size() == 0 ? entry : round_once<Scalar>(static_cast<double>(entry) * gamma(input));
  }

  // Calls visit(entry, output, input that it is multiplied with).
  template <class Visit>
  void for_each(Visit visit) const {
    Index const block = weight_.outputs / groups_, inputs = weight_.inputs();
    for (Index f = 0; f < weight_.fibres(); ++f) {
      Scalar* const fibre = weight_.fibre(f);
      for (Index group = 0; group < groups_; ++group) {
        Index const input = group * inputs + f / weight_.taps;
        for (Index output = group * block; output < (group + 1) * block; ++output) {
          visit(fibre[output * weight_.output_stride], output, input);
        }
      }
    }
  }

  WeightLayout<Scalar> weight_;
  Index groups_;
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
  detail::AffineReader const reader(weight, gamma, beta, groups);
  Matrix<double> const shifted = detail::weight_values(to_bias) + reader.shifts(beta);
  reader.check_scaled(gamma);
  detail::check_storable(shifted, to_bias, "fold_affine");
  reader.scale(gamma);
  detail::write_weight(shifted, to_bias);
}

// ... without a beta: W diag(gamma), whatever bias there is.
template <class Scalar>
void fold_affine(WeightLayout<Scalar> const& weight, ConstVectorRef<double> const& gamma, Index groups = 1) {
  detail::AffineReader const reader(weight, gamma, Vector<double>(), groups);
  reader.check_scaled(gamma);
  reader.scale(gamma);
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

}  // namespace foldnorm::inline FOLDNORM_ABI
