// SPDX-License-Identifier: MIT
// tests/laws/norms.hpp -- both norms and all scalars under one name, so that every law is written once.
#pragma once

#include <foldnorm/kernels/add_norm.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/parallel_layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include <utility>

#include "laws/instances.hpp"

namespace laws {

using foldnorm::Accuracy;
using foldnorm::Index;
using foldnorm::Matrix;
using foldnorm::none;
using foldnorm::NormStatistics;
using foldnorm::Vector;

template <class T>
struct LayerNormOf {
  using Scalar = T;
  static constexpr bool subtracts_mean = true;
  template <class... Arguments>
  static decltype(auto) forward(Arguments&&... arguments) {
    return foldnorm::layer_norm(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  static void backward(Arguments&&... arguments) {
    foldnorm::layer_norm_backward(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  static decltype(auto) forward_groups(Arguments&&... arguments) {
    return foldnorm::parallel_layer_norm(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  static void backward_groups(Arguments&&... arguments) {
    foldnorm::parallel_layer_norm_backward(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  static void forward_sum(Arguments&&... arguments) {
    foldnorm::add_layer_norm(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  static void backward_sum(Arguments&&... arguments) {
    foldnorm::add_layer_norm_backward(std::forward<Arguments>(arguments)...);
  }
};

template <class T>
struct RMSNormOf {
  using Scalar = T;
  static constexpr bool subtracts_mean = false;
  template <class... Arguments>
  static decltype(auto) forward(Arguments&&... arguments) {
    return foldnorm::rms_norm(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  static void backward(Arguments&&... arguments) {
    foldnorm::rms_norm_backward(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  static decltype(auto) forward_groups(Arguments&&... arguments) {
    return foldnorm::parallel_layer_scaling(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  static void backward_groups(Arguments&&... arguments) {
    foldnorm::parallel_layer_scaling_backward(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  static void forward_sum(Arguments&&... arguments) {
    foldnorm::add_rms_norm(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  static void backward_sum(Arguments&&... arguments) {
    foldnorm::add_rms_norm_backward(std::forward<Arguments>(arguments)...);
  }
};

template <class Scalar>
struct Gradients {
  Matrix<Scalar> dx;
  Vector<Scalar> dgamma, dbeta;
};

// Forward, then backward, everything asked for.
template <class Norm>
Gradients<typename Norm::Scalar> gradients(Matrix<typename Norm::Scalar> const& dy,
                                           Matrix<typename Norm::Scalar> const& x,
                                           Vector<typename Norm::Scalar> const& gamma,
                                           foldnorm::Compute<typename Norm::Scalar> eps,
                                           Accuracy accuracy = Accuracy::fast) {
  using Scalar = typename Norm::Scalar;
  Matrix<Scalar> y(x.rows(), x.cols());
  NormStatistics<Scalar> statistics;
  Norm::forward(x, gamma, none, eps, y, statistics, accuracy);
  Gradients<Scalar> result{Matrix<Scalar>(x.rows(), x.cols()), Vector<Scalar>(x.rows()), Vector<Scalar>(x.rows())};
  Norm::backward(dy, x, gamma, statistics, result.dx, result.dgamma, result.dbeta, foldnorm::BackwardOptions{accuracy});
  return result;
}

}  // namespace laws

#define FOLDNORM_ALL_NORMS \
  laws::LayerNormOf<float>, laws::LayerNormOf<double>, laws::RMSNormOf<float>, laws::RMSNormOf<double>
#define FOLDNORM_ALL_STORED_NORMS                                                   \
  FOLDNORM_ALL_NORMS, laws::LayerNormOf<Eigen::half>, laws::RMSNormOf<Eigen::half>, \
      laws::LayerNormOf<Eigen::bfloat16>, laws::RMSNormOf<Eigen::bfloat16>
