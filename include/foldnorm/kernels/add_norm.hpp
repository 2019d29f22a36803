// SPDX-License-Identifier: MIT
// foldnorm/kernels/add_norm.hpp -- a residual connection and the norm behind it in one pass over memory.
//
//   s = x + alpha * r,   y = norm(s)                               forward
//   dx = ds + dnorm/ds (dy),   dr = alpha * dx                     backward, ds: what reaches s from elsewhere
//
// A transformer's block adds its branch to the stream and normalizes the sum; apart, the sum goes to memory and back.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/backward_options.hpp>
#include <foldnorm/kernels/detail/normalize_sum.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

#include <type_traits>

namespace foldnorm::inline FOLDNORM_ABI {
namespace detail {

// A matrix to write, or `none`; a matrix to read, or `none`.
template <class S, class Scalar>
concept kept_sum = std::same_as<std::remove_cvref_t<S>, none_t> || std::convertible_to<S, MatrixRef<Scalar>>;
template <class S, class Scalar>
concept kept_gradient = std::same_as<S, none_t> ||(stored_expression<S>&& std::same_as<typename S::Scalar, Scalar>);
template <class S, class Scalar>
using KeptSumArgument = std::conditional_t<std::same_as<std::remove_cvref_t<S>, none_t>, none_t, MatrixRef<Scalar>>;
template <class S, class Scalar>
using KeptGradientArgument = std::conditional_t<std::same_as<S, none_t>, none_t, ConstMatrixRef<Scalar>>;

}  // namespace detail

// Writes s = x + alpha * r (or not: `none`), rounded to the storage type, and y = layer_norm(s) with gamma, beta and
// eps as in layer_norm.hpp; the bits of y do not depend on whether s is written. x, r, s, y: n x m. s may be x or r,
// and y may be x or r (the same view); s and y lie apart. Shapes that disagree throw shape_error, other overlaps
// std::invalid_argument, before anything is written. Expressions x and r are evaluated once.
template <stored_expression X, stored_expression R, norm_parameter<typename X::Scalar> Gamma,
          norm_parameter<typename X::Scalar> Beta, detail::kept_sum<typename X::Scalar> S>
void add_layer_norm(Eigen::MatrixBase<X> const& x, Compute<typename X::Scalar> alpha, Eigen::MatrixBase<R> const& r,
                    Gamma const& gamma, Beta const& beta, Compute<typename X::Scalar> eps, S&& s,
                    MatrixRef<typename X::Scalar> y, Accuracy accuracy = Accuracy::fast) {
  using Scalar = typename X::Scalar;
  check_strides(x, "add_layer_norm: x");
  check_strides(r, "add_layer_norm: r");
  detail::normalize_sum<detail::LayerNormPolicy, Scalar, detail::KeptSumArgument<S, Scalar>>(
      x.derived(), alpha, r.derived(), gamma, beta, eps, s, y, {"add_layer_norm", nullptr, accuracy});
}

// The same, and keeps in `statistics` (resized) what add_layer_norm_backward needs.
template <stored_expression X, stored_expression R, norm_parameter<typename X::Scalar> Gamma,
          norm_parameter<typename X::Scalar> Beta, detail::kept_sum<typename X::Scalar> S>
void add_layer_norm(Eigen::MatrixBase<X> const& x, Compute<typename X::Scalar> alpha, Eigen::MatrixBase<R> const& r,
                    Gamma const& gamma, Beta const& beta, Compute<typename X::Scalar> eps, S&& s,
                    MatrixRef<typename X::Scalar> y, NormStatistics<typename X::Scalar>& statistics,
                    Accuracy accuracy = Accuracy::fast) {
  using Scalar = typename X::Scalar;
  check_strides(x, "add_layer_norm: x");
  check_strides(r, "add_layer_norm: r");
  detail::normalize_sum<detail::LayerNormPolicy, Scalar, detail::KeptSumArgument<S, Scalar>>(
      x.derived(), alpha, r.derived(), gamma, beta, eps, s, y, {"add_layer_norm", &statistics, accuracy});
}

// add_layer_norm with rms_norm in its place.
template <stored_expression X, stored_expression R, norm_parameter<typename X::Scalar> Gamma,
          norm_parameter<typename X::Scalar> Beta, detail::kept_sum<typename X::Scalar> S>
void add_rms_norm(Eigen::MatrixBase<X> const& x, Compute<typename X::Scalar> alpha, Eigen::MatrixBase<R> const& r,
                  Gamma const& gamma, Beta const& beta, Compute<typename X::Scalar> eps, S&& s,
                  MatrixRef<typename X::Scalar> y, Accuracy accuracy = Accuracy::fast) {
  using Scalar = typename X::Scalar;
  check_strides(x, "add_rms_norm: x");
  check_strides(r, "add_rms_norm: r");
  detail::normalize_sum<detail::RMSNormPolicy, Scalar, detail::KeptSumArgument<S, Scalar>>(
      x.derived(), alpha, r.derived(), gamma, beta, eps, s, y, {"add_rms_norm", nullptr, accuracy});
}
template <stored_expression X, stored_expression R, norm_parameter<typename X::Scalar> Gamma,
          norm_parameter<typename X::Scalar> Beta, detail::kept_sum<typename X::Scalar> S>
void add_rms_norm(Eigen::MatrixBase<X> const& x, Compute<typename X::Scalar> alpha, Eigen::MatrixBase<R> const& r,
                  Gamma const& gamma, Beta const& beta, Compute<typename X::Scalar> eps, S&& s,
                  MatrixRef<typename X::Scalar> y, NormStatistics<typename X::Scalar>& statistics,
                  Accuracy accuracy = Accuracy::fast) {
  using Scalar = typename X::Scalar;
  check_strides(x, "add_rms_norm: x");
  check_strides(r, "add_rms_norm: r");
  detail::normalize_sum<detail::RMSNormPolicy, Scalar, detail::KeptSumArgument<S, Scalar>>(
      x.derived(), alpha, r.derived(), gamma, beta, eps, s, y, {"add_rms_norm", &statistics, accuracy});
}

// Gradients from dy = dloss/dy, ds = what else depends on s (or `none`), the s that the forward wrote and its
// statistics: dx (of x, and of s), dr = alpha * dx (or `none`), dgamma and dbeta as in layer_norm_backward. dx and dr
// may each be dy, s or ds (the same view), and lie apart from each other. options.add_to_dx throws: that is what ds is
// for.
template <stored_expression DY, detail::kept_gradient<typename DY::Scalar> DS,
          norm_parameter<typename DY::Scalar> Gamma, detail::kept_sum<typename DY::Scalar> DR>
void add_layer_norm_backward(Eigen::MatrixBase<DY> const& dy, DS const& ds,
                             ConstMatrixRef<typename DY::Scalar> const& s, Compute<typename DY::Scalar> alpha,
                             Gamma const& gamma, NormStatistics<typename DY::Scalar> const& statistics,
                             MatrixRef<typename DY::Scalar> dx, DR&& dr,
                             OptionalOutput<typename DY::Scalar> const& dgamma,
                             OptionalOutput<typename DY::Scalar> const& dbeta, BackwardOptions const& options = {}) {
  using Scalar = typename DY::Scalar;
  check_strides(dy, "add_layer_norm_backward: dy");
  check_strides(ds, "add_layer_norm_backward: ds");
  detail::normalize_sum_backward<detail::LayerNormPolicy, Scalar, detail::KeptGradientArgument<DS, Scalar>,
                                 detail::KeptSumArgument<DR, Scalar>>(
      {dy.derived(), s, statistics}, ds, alpha, gamma, dr, {dx, dgamma, dbeta}, options, "add_layer_norm_backward");
}

// The same for add_rms_norm.
template <stored_expression DY, detail::kept_gradient<typename DY::Scalar> DS,
          norm_parameter<typename DY::Scalar> Gamma, detail::kept_sum<typename DY::Scalar> DR>
void add_rms_norm_backward(Eigen::MatrixBase<DY> const& dy, DS const& ds, ConstMatrixRef<typename DY::Scalar> const& s,
                           Compute<typename DY::Scalar> alpha, Gamma const& gamma,
                           NormStatistics<typename DY::Scalar> const& statistics, MatrixRef<typename DY::Scalar> dx,
                           DR&& dr, OptionalOutput<typename DY::Scalar> const& dgamma,
                           OptionalOutput<typename DY::Scalar> const& dbeta, BackwardOptions const& options = {}) {
  using Scalar = typename DY::Scalar;
  check_strides(dy, "add_rms_norm_backward: dy");
  check_strides(ds, "add_rms_norm_backward: ds");
  detail::normalize_sum_backward<detail::RMSNormPolicy, Scalar, detail::KeptGradientArgument<DS, Scalar>,
                                 detail::KeptSumArgument<DR, Scalar>>(
      {dy.derived(), s, statistics}, ds, alpha, gamma, dr, {dx, dgamma, dbeta}, options, "add_rms_norm_backward");
}

}  // namespace foldnorm::inline FOLDNORM_ABI
