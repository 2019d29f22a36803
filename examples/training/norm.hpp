// SPDX-License-Identifier: MIT
// training/norm.hpp -- a norm on named parameters that runs as LayerNorm or as RMSNorm: what a fold switches.
#pragma once

#include <foldnorm/graph/graph.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include "named_matrices.hpp"

#include <chrono>
#include <string>

namespace foldnorm::training {

enum class NormKind { layer_norm, rms_norm };

// Whether a backward pass follows, for which the forward pass keeps the statistics.
enum class Pass { training, inference };

// What one forward pass leaves for the backward pass, and the time it took.
template <real_scalar Scalar>
struct NormActivations {
  NormStatistics<Scalar> statistics;
  double seconds = 0;  // spent in forward since it was last set to 0 (reading the clock costs about 50 ns a call)
};

struct Norm {
  std::string name;  // of the graph's node, and the prefix of the parameters gamma and beta (m x 1)
  NormKind kind = NormKind::layer_norm;
  double eps = 1e-5;

  std::string gamma() const { return name + ".gamma"; }
  std::string beta() const { return name + ".beta"; }

  template <real_scalar Scalar>
  void initialize(Index features, NamedMatrices<Scalar>& parameters) const {
    parameters[gamma()] = Matrix<Scalar>::Ones(features, 1);
    parameters[beta()] = Matrix<Scalar>::Zero(features, 1);
  }

  // x: m x n, y: m x n (resized).
  template <real_scalar Scalar>
  void forward(NamedMatrices<Scalar> const& parameters, Matrix<Scalar> const& x, Matrix<Scalar>& y,
               NormActivations<Scalar>& activations, Pass pass) const {
    auto const g = parameters.at(gamma()).col(0);
    auto const b = parameters.at(beta()).col(0);
    auto const e = static_cast<Scalar>(eps);
    y.resize(x.rows(), x.cols());
    auto const start = std::chrono::steady_clock::now();
    if (kind == NormKind::layer_norm) {
      pass == Pass::training ? layer_norm(x, g, b, e, y, activations.statistics) : layer_norm(x, g, b, e, y);
    } else {
      pass == Pass::training ? rms_norm(x, g, b, e, y, activations.statistics) : rms_norm(x, g, b, e, y);
    }
    activations.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  // Adds to the gradients of gamma and beta; x and activations of a forward pass for training, dx: m x n (resized).
  template <real_scalar Scalar>
  void backward(NamedMatrices<Scalar> const& parameters, Matrix<Scalar> const& dy, Matrix<Scalar> const& x,
                NormActivations<Scalar> const& activations, NamedMatrices<Scalar>& gradients,
                Matrix<Scalar>& dx) const {
    auto const g = parameters.at(gamma()).col(0);
    Vector<Scalar> dgamma(x.rows());
    Vector<Scalar> dbeta(x.rows());
    dx.resize(x.rows(), x.cols());
    if (kind == NormKind::layer_norm) {
      layer_norm_backward(dy, x, g, activations.statistics, dx, dgamma, dbeta);
    } else {
      rms_norm_backward(dy, x, g, activations.statistics, dx, dgamma, dbeta);
    }
    gradients.at(gamma()) += dgamma;
    gradients.at(beta()) += dbeta;
  }

  NodeId describe(Graph& graph, NodeId x) const {
    NormKeys const keys{.eps = eps};
    return kind == NormKind::layer_norm ? graph.layer_norm(name, x, gamma(), beta(), keys)
                                        : graph.rms_norm(name, x, gamma(), beta(), keys);
  }
};

}  // namespace foldnorm::training
