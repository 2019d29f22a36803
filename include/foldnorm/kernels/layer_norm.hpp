// SPDX-License-Identifier: MIT
// foldnorm/kernels/layer_norm.hpp -- every sample to mean 0 and variance 1, then gain and shift; and its gradients.
//
//   xhat = (x - mean(x)) * rstd,   rstd = 1 / sqrt(mean((x - mean(x))^2) + eps),   y = gamma * xhat + beta
//   g = gamma * dy,   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),   dgamma = sum dy * xhat,   dbeta = sum dy
//
// It is gain and shift after rms_norm after center; means run over the n features of a sample (a column), the sums of
// dgamma and dbeta over the m samples. Ba, Kiros & Hinton 2016, arXiv:1607.06450.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/detail/normalize.hpp>
#include <foldnorm/kernels/detail/normalize_backward.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

// Normalizes x (n x m) into y (n x m), both over float, double, half or bfloat16. gamma, beta: n values (a vector), n x
// m values (a matrix: one per feature and column, as in adaptive norms), or `none`; over x's scalar or the one it
// computes in. Accuracy: see core/accuracy.hpp. eps is held in the type computed in. Shapes that disagree throw
// shape_error, eps NaN, inf or negative and overlapping arguments std::invalid_argument, all before anything is
// written. y may be x itself (same bits); gamma and beta must lie apart from y. A constant sample gives y == beta bit
// for bit (a zero beta may change sign), for eps = 0 and for n = 1 as well. NaN or inf in a sample makes that sample
// NaN and no other; NaN in gamma or beta spoils its own feature. An xhat below the smallest normal number loses digits
// before the gain reaches it, and gamma * xhat itself must be representable (float in accurate mode: neither). An
// expression x is evaluated once; row-major, transposed and inner-strided ones are copied. Columns are shared over
// OpenMP threads (core/parallel.hpp), with the same bits for any number of them.
template <stored_expression X, norm_parameter<typename X::Scalar> Gamma, norm_parameter<typename X::Scalar> Beta>
void layer_norm(Eigen::MatrixBase<X> const& x, Gamma const& gamma, Beta const& beta, Compute<typename X::Scalar> eps,
                MatrixRef<typename X::Scalar> y, Accuracy accuracy = Accuracy::fast) {
  check_strides(x, "layer_norm: x");
  detail::normalize<detail::LayerNormPolicy, typename X::Scalar>(x.derived(), gamma, beta, eps, y,
                                                                 {"layer_norm", nullptr, accuracy});
}

// The same, and keeps in `statistics` (resized) what layer_norm_backward needs.
template <stored_expression X, norm_parameter<typename X::Scalar> Gamma, norm_parameter<typename X::Scalar> Beta>
void layer_norm(Eigen::MatrixBase<X> const& x, Gamma const& gamma, Beta const& beta, Compute<typename X::Scalar> eps,
                MatrixRef<typename X::Scalar> y, NormStatistics<typename X::Scalar>& statistics,
                Accuracy accuracy = Accuracy::fast) {
  check_strides(x, "layer_norm: x");
  detail::normalize<detail::LayerNormPolicy, typename X::Scalar>(x.derived(), gamma, beta, eps, y,
                                                                 {"layer_norm", &statistics, accuracy});
}

// The same, returned.
template <stored_expression X, norm_parameter<typename X::Scalar> Gamma, norm_parameter<typename X::Scalar> Beta>
Matrix<typename X::Scalar> layer_norm(Eigen::MatrixBase<X> const& x, Gamma const& gamma, Beta const& beta,
                                      Compute<typename X::Scalar> eps, Accuracy accuracy = Accuracy::fast) {
  Matrix<typename X::Scalar> y(x.rows(), x.cols());
  layer_norm(x, gamma, beta, eps, y, accuracy);
  return y;
}

// Gradients of a loss from dy = dloss/dy (n x m), the x of the forward and the statistics it kept.
// Writes, or adds to if the options say so, dx (n x m), dgamma and dbeta (each of its parameter's shape, over x's
// scalar or the one it computes in, or `none`); with no samples the sums are 0. dx may be dy or x itself (same bits);
// any other overlap throws, as do shapes that disagree and statistics of another shape or of groups, before anything is
// written. Where xhat is 0 by definition (eps = 0 in a constant sample, n = 1) dx is 0 and dgamma gains nothing. NaN in
// dy makes dx of its sample NaN, and dgamma, dbeta at its feature; NaN in gamma all of dx; NaN in x dx of its sample
// and dgamma, not dbeta. dgamma and dbeta do not depend on the number of threads. Needs memory for partial sums, see
// options.workspace.
template <stored_expression DY, norm_parameter<typename DY::Scalar> Gamma>
void layer_norm_backward(Eigen::MatrixBase<DY> const& dy, ConstMatrixRef<typename DY::Scalar> const& x,
                         Gamma const& gamma, NormStatistics<typename DY::Scalar> const& statistics,
                         MatrixRef<typename DY::Scalar> dx, OptionalOutput<typename DY::Scalar> const& dgamma,
                         OptionalOutput<typename DY::Scalar> const& dbeta, BackwardOptions const& options = {}) {
  using Scalar = typename DY::Scalar;
  check_strides(dy, "layer_norm_backward: dy");
  detail::normalize_backward<detail::LayerNormPolicy, Scalar, false>(
      {dy.derived(), x, statistics}, gamma, {dx, dgamma, dbeta}, options, "layer_norm_backward");
}

}  // namespace foldnorm::inline FOLDNORM_ABI
