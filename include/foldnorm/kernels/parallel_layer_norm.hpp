// SPDX-License-Identifier: MIT
// foldnorm/kernels/parallel_layer_norm.hpp -- layer_norm over groups of features (PLN), and its scaling-only form
// (PLS).
//
//   x = [x_1; ...; x_G],  d = norm_size features each:   y_g = gamma_g * layer_norm(x_g) + beta_g      PLN
//                                                        y_g = gamma_g * rms_norm(x_g)   + beta_g      PLS
//
// gamma and beta are per feature of x, not per group. With d = n this is the plain norm; at each pixel of a
// channels-last image it groups channels (it is not GroupNorm, which pools over pixels as well). Many short groups are
// worked on side by side. Ni et al., arXiv:2505.13142, section 2.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/backward_options.hpp>
#include <foldnorm/kernels/detail/normalize.hpp>
#include <foldnorm/kernels/detail/normalize_backward.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

// Normalizes every group of norm_size consecutive features of x (n x m) into y (n x m); norm_size divides n, else
// std::invalid_argument. All else as layer_norm.hpp says for a sample: a group that is constant gives beta, for eps = 0
// as well, a bad value spoils its own group.
template <stored_expression X, norm_parameter<typename X::Scalar> Gamma, norm_parameter<typename X::Scalar> Beta>
void parallel_layer_norm(Eigen::MatrixBase<X> const& x, Index norm_size, Gamma const& gamma, Beta const& beta,
                         Compute<typename X::Scalar> eps, MatrixRef<typename X::Scalar> y,
                         Accuracy accuracy = Accuracy::fast) {
  check_strides(x, "parallel_layer_norm: x");
  detail::normalize_groups<detail::LayerNormPolicy, typename X::Scalar>(x.derived(), norm_size, gamma, beta, eps, y,
                                                                        {"parallel_layer_norm", nullptr, accuracy});
}

// The same, and keeps in `statistics` (resized, one per group and column) what the backward needs.
template <stored_expression X, norm_parameter<typename X::Scalar> Gamma, norm_parameter<typename X::Scalar> Beta>
void parallel_layer_norm(Eigen::MatrixBase<X> const& x, Index norm_size, Gamma const& gamma, Beta const& beta,
                         Compute<typename X::Scalar> eps, MatrixRef<typename X::Scalar> y,
                         NormStatistics<typename X::Scalar>& statistics, Accuracy accuracy = Accuracy::fast) {
  check_strides(x, "parallel_layer_norm: x");
  detail::normalize_groups<detail::LayerNormPolicy, typename X::Scalar>(x.derived(), norm_size, gamma, beta, eps, y,
                                                                        {"parallel_layer_norm", &statistics, accuracy});
}

// The same, returned.
template <stored_expression X, norm_parameter<typename X::Scalar> Gamma, norm_parameter<typename X::Scalar> Beta>
Matrix<typename X::Scalar> parallel_layer_norm(Eigen::MatrixBase<X> const& x, Index norm_size, Gamma const& gamma,
                                               Beta const& beta, Compute<typename X::Scalar> eps,
                                               Accuracy accuracy = Accuracy::fast) {
  Matrix<typename X::Scalar> y(x.rows(), x.cols());
  parallel_layer_norm(x, norm_size, gamma, beta, eps, y, accuracy);
  return y;
}

// Without centering, as rms_norm.hpp says for a sample: a group of zeros gives beta.
template <stored_expression X, norm_parameter<typename X::Scalar> Gamma, norm_parameter<typename X::Scalar> Beta>
void parallel_layer_scaling(Eigen::MatrixBase<X> const& x, Index norm_size, Gamma const& gamma, Beta const& beta,
                            Compute<typename X::Scalar> eps, MatrixRef<typename X::Scalar> y,
                            Accuracy accuracy = Accuracy::fast) {
  check_strides(x, "parallel_layer_scaling: x");
  detail::normalize_groups<detail::RMSNormPolicy, typename X::Scalar>(x.derived(), norm_size, gamma, beta, eps, y,
                                                                      {"parallel_layer_scaling", nullptr, accuracy});
}
template <stored_expression X, norm_parameter<typename X::Scalar> Gamma, norm_parameter<typename X::Scalar> Beta>
void parallel_layer_scaling(Eigen::MatrixBase<X> const& x, Index norm_size, Gamma const& gamma, Beta const& beta,
                            Compute<typename X::Scalar> eps, MatrixRef<typename X::Scalar> y,
                            NormStatistics<typename X::Scalar>& statistics, Accuracy accuracy = Accuracy::fast) {
  check_strides(x, "parallel_layer_scaling: x");
  detail::normalize_groups<detail::RMSNormPolicy, typename X::Scalar>(
      x.derived(), norm_size, gamma, beta, eps, y, {"parallel_layer_scaling", &statistics, accuracy});
}
template <stored_expression X, norm_parameter<typename X::Scalar> Gamma, norm_parameter<typename X::Scalar> Beta>
Matrix<typename X::Scalar> parallel_layer_scaling(Eigen::MatrixBase<X> const& x, Index norm_size, Gamma const& gamma,
                                                  Beta const& beta, Compute<typename X::Scalar> eps,
                                                  Accuracy accuracy = Accuracy::fast) {
  Matrix<typename X::Scalar> y(x.rows(), x.cols());
  parallel_layer_scaling(x, norm_size, gamma, beta, eps, y, accuracy);
  return y;
}

// Gradients, as layer_norm_backward says; norm_size is the forward's, which `statistics` holds.
template <stored_expression DY, norm_parameter<typename DY::Scalar> Gamma>
void parallel_layer_norm_backward(Eigen::MatrixBase<DY> const& dy, ConstMatrixRef<typename DY::Scalar> const& x,
                                  Gamma const& gamma, NormStatistics<typename DY::Scalar> const& statistics,
                                  MatrixRef<typename DY::Scalar> dx, OptionalOutput<typename DY::Scalar> const& dgamma,
                                  OptionalOutput<typename DY::Scalar> const& dbeta,
                                  BackwardOptions const& options = {}) {
  check_strides(dy, "parallel_layer_norm_backward: dy");
  detail::normalize_backward<detail::LayerNormPolicy, typename DY::Scalar, true>(
      {dy.derived(), x, statistics}, gamma, {dx, dgamma, dbeta}, options, "parallel_layer_norm_backward");
}
template <stored_expression DY, norm_parameter<typename DY::Scalar> Gamma>
void parallel_layer_scaling_backward(Eigen::MatrixBase<DY> const& dy, ConstMatrixRef<typename DY::Scalar> const& x,
                                     Gamma const& gamma, NormStatistics<typename DY::Scalar> const& statistics,
                                     MatrixRef<typename DY::Scalar> dx,
                                     OptionalOutput<typename DY::Scalar> const& dgamma,
                                     OptionalOutput<typename DY::Scalar> const& dbeta,
                                     BackwardOptions const& options = {}) {
  check_strides(dy, "parallel_layer_scaling_backward: dy");
  detail::normalize_backward<detail::RMSNormPolicy, typename DY::Scalar, true>(
      {dy.derived(), x, statistics}, gamma, {dx, dgamma, dbeta}, options, "parallel_layer_scaling_backward");
}

}  // namespace foldnorm::inline FOLDNORM_ABI
