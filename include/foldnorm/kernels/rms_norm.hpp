// SPDX-License-Identifier: MIT
// foldnorm/kernels/rms_norm.hpp -- every sample to mean square 1, then gain and (optional) shift; and its gradients.
//
//   xhat = x * rstd,   rstd = 1 / sqrt(mean(x^2) + eps),   y = gamma * xhat + beta
//   g = gamma * dy,   dx = rstd * (g - xhat * mean(g * xhat)),   dgamma = sum dy * xhat,   dbeta = sum dy
//
// Not invariant to a shift of x: that is what center is for. A LayerNorm whose input has been centred upstream becomes
// this norm with the same gamma, beta and eps. Zhang & Sennrich 2019, arXiv:1910.07467.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/detail/normalize.hpp>
#include <foldnorm/kernels/detail/normalize_backward.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

namespace foldnorm {

// Normalizes x (n x m) into y (n x m). gamma, beta: n, or `none`. Accuracy: see core/accuracy.hpp.
// Shapes that disagree throw shape_error, eps NaN, inf or negative and overlapping arguments std::invalid_argument, all
// before anything is written. y may be x itself (same bits); gamma and beta must lie apart from y.
// A sample of zeros gives y == beta, for eps = 0 as well. NaN in a sample makes that sample NaN; inf gives NaN at the
// infinite elements and xhat = 0 at the others; other samples keep their bits. NaN in gamma or beta spoils its own
// feature. Double storage: all finite x; an xhat below 2^-1022 loses digits before the gain reaches it.
// An expression x is evaluated once; row-major, transposed and inner-strided ones are copied.
template <dense_expression X>
void rms_norm(Eigen::MatrixBase<X> const& x, OptionalVector<typename X::Scalar> const& gamma,
              OptionalVector<typename X::Scalar> const& beta, typename X::Scalar eps, MatrixRef<typename X::Scalar> y,
              Accuracy accuracy = Accuracy::fast) {
  using Scalar = typename X::Scalar;
  check_strides(x, "rms_norm: x");
  detail::normalize<detail::RMSNormPolicy, Scalar>(ConstMatrixRef<Scalar>(x.derived()), gamma, beta, eps, y, nullptr,
                                                   accuracy, "rms_norm");
}

// The same, and keeps in `statistics` (resized) what rms_norm_backward needs.
template <dense_expression X>
void rms_norm(Eigen::MatrixBase<X> const& x, OptionalVector<typename X::Scalar> const& gamma,
              OptionalVector<typename X::Scalar> const& beta, typename X::Scalar eps, MatrixRef<typename X::Scalar> y,
              NormStatistics<typename X::Scalar>& statistics, Accuracy accuracy = Accuracy::fast) {
  using Scalar = typename X::Scalar;
  check_strides(x, "rms_norm: x");
  detail::normalize<detail::RMSNormPolicy, Scalar>(ConstMatrixRef<Scalar>(x.derived()), gamma, beta, eps, y,
                                                   &statistics, accuracy, "rms_norm");
}

// The same, returned.
template <dense_expression X>
Matrix<typename X::Scalar> rms_norm(Eigen::MatrixBase<X> const& x, OptionalVector<typename X::Scalar> const& gamma,
                                    OptionalVector<typename X::Scalar> const& beta, typename X::Scalar eps,
                                    Accuracy accuracy = Accuracy::fast) {
  Matrix<typename X::Scalar> y(x.rows(), x.cols());
  rms_norm(x, gamma, beta, eps, y, accuracy);
  return y;
}

// Gradients of a loss from dy = dloss/dy (n x m), the x of the forward and the statistics it kept.
// Overwrites dx (n x m), dgamma and dbeta (n, or `none`); with no samples dgamma = dbeta = 0. dx may be dy or x itself
// (same bits); any other overlap throws, as do shapes that disagree and statistics of another shape, before anything is
// written. A sample of zeros with eps = 0 has dx = 0 and adds nothing to dgamma. NaN in dy makes dx of its sample NaN,
// and dgamma, dbeta at its feature; NaN in gamma all of dx; a bad sample x spoils its dx, and dgamma where xhat is NaN,
// not dbeta. Both accuracies are computed in double and rounded once.
template <dense_expression DY>
void rms_norm_backward(Eigen::MatrixBase<DY> const& dy, ConstMatrixRef<typename DY::Scalar> const& x,
                       OptionalVector<typename DY::Scalar> const& gamma,
                       NormStatistics<typename DY::Scalar> const& statistics, MatrixRef<typename DY::Scalar> dx,
                       OptionalVectorRef<typename DY::Scalar> dgamma, OptionalVectorRef<typename DY::Scalar> dbeta,
                       Accuracy = Accuracy::fast) {
  using Scalar = typename DY::Scalar;
  check_strides(dy, "rms_norm_backward: dy");
  detail::normalize_backward<detail::RMSNormPolicy, Scalar>(ConstMatrixRef<Scalar>(dy.derived()), x, gamma, statistics,
                                                            dx, dgamma, dbeta, "rms_norm_backward");
}

}  // namespace foldnorm
