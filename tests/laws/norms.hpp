// SPDX-License-Identifier: MIT
// tests/laws/norms.hpp -- both norms and both scalars under one name, so that every law is written once.
#pragma once

#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include <utility>

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
                                           Vector<typename Norm::Scalar> const& gamma, typename Norm::Scalar eps,
                                           Accuracy accuracy = Accuracy::fast) {
  using Scalar = typename Norm::Scalar;
  Matrix<Scalar> y(x.rows(), x.cols());
  NormStatistics<Scalar> statistics;
  Norm::forward(x, gamma, none, eps, y, statistics, accuracy);
  Gradients<Scalar> result{Matrix<Scalar>(x.rows(), x.cols()), Vector<Scalar>(x.rows()), Vector<Scalar>(x.rows())};
  Norm::backward(dy, x, gamma, statistics, result.dx, result.dgamma, result.dbeta, accuracy);
  return result;
}

}  // namespace laws

#define FOLDNORM_ALL_NORMS \
  laws::LayerNormOf<float>, laws::LayerNormOf<double>, laws::RMSNormOf<float>, laws::RMSNormOf<double>
