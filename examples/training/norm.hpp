// SPDX-License-Identifier: MIT
// training/norm.hpp -- a norm on named parameters that runs as LayerNorm or as RMSNorm (what a fold switches), over all
// features or over groups of them.
#pragma once

#include <foldnorm/graph/graph.hpp>
#include <foldnorm/kernels/parallel_layer_norm.hpp>
#include <foldnorm/layers/norm_layer.hpp>

#include "named_matrices.hpp"

#include <chrono>
#include <string>

namespace foldnorm::training {

// Whether a backward pass follows, for which the forward pass keeps the statistics.
enum class Pass { training, inference };

// What one forward pass leaves for the backward pass, and the time it took.
template <real_scalar Scalar>
struct NormActivations {
  NormStatistics<Scalar> statistics;
  double seconds = 0;  // spent in forward since it was last set to 0 (reading the clock costs about 50 ns a call)
};

struct Norm {
  std::string name;  // of the graph's node
  NormKind kind = NormKind::layer_norm;
  Index norm_size = 0;  // features per group, a divisor of m; 0: all
  bool affine = true;   // are there a gamma and a beta?
  double eps = 1e-5;
  std::string shared_name = {};  // prefix of the parameters gamma and beta (m x 1), where it is not the norm's name

  std::string gamma() const { return affine ? prefix() + ".gamma" : ""; }
  std::string beta() const { return affine ? prefix() + ".beta" : ""; }

  template <real_scalar Scalar>
  void initialize(Index features, NamedMatrices<Scalar>& parameters) const {
    if (!affine) return;
    parameters[gamma()] = Matrix<Scalar>::Ones(features, 1);
    parameters[beta()] = Matrix<Scalar>::Zero(features, 1);
  }

  // x: m x n, y: m x n (resized).
  template <real_scalar Scalar>
  void forward(NamedMatrices<Scalar> const& parameters, Matrix<Scalar> const& x, Matrix<Scalar>& y,
               NormActivations<Scalar>& activations, Pass pass) const;

  // Adds to the gradients of gamma and beta; x and activations of a forward pass for training, dx: m x n (resized).
  template <real_scalar Scalar>
  void backward(NamedMatrices<Scalar> const& parameters, Matrix<Scalar> const& dy, Matrix<Scalar> const& x,
                NormActivations<Scalar> const& activations, NamedMatrices<Scalar>& gradients,
                Matrix<Scalar>& dx) const {
    dx.resize(x.rows(), x.cols());
    if (affine) {
      backward<Scalar>(parameters.at(gamma()).col(0), dy, x, activations, dx, gradients.at(gamma()).col(0),
                       gradients.at(beta()).col(0));
    } else {
      backward<Scalar>(Vector<Scalar>::Ones(x.rows()), dy, x, activations, dx, none, none);
    }
  }

  NodeId describe(Graph& graph, NodeId x) const {
    Index const features = graph.node(x).features;
    NormKeys const keys{.eps = eps, .groups = features / group_features(features)};
    return kind == NormKind::layer_norm ? graph.layer_norm(name, x, gamma(), beta(), keys)
                                        : graph.rms_norm(name, x, gamma(), beta(), keys);
  }

 private:
  std::string const& prefix() const { return shared_name.empty() ? name : shared_name; }
  Index group_features(Index features) const { return norm_size > 0 ? norm_size : features; }

  template <real_scalar Scalar>
  void backward(Vector<Scalar> const& g, Matrix<Scalar> const& dy, Matrix<Scalar> const& x,
                NormActivations<Scalar> const& activations, Matrix<Scalar>& dx, OptionalOutput<Scalar> const& dgamma,
                OptionalOutput<Scalar> const& dbeta) const;
};

// Outside of the struct, and so not inline: compiled once, in instances.cpp.
template <real_scalar Scalar>
void Norm::forward(NamedMatrices<Scalar> const& parameters, Matrix<Scalar> const& x, Matrix<Scalar>& y,
                   NormActivations<Scalar>& activations, Pass pass) const {
  // Without an affine part 1 and 0, not `none`: that would compile every kernel a second time.
  Vector<Scalar> const g = affine ? Vector<Scalar>(parameters.at(gamma()).col(0)) : Vector<Scalar>::Ones(x.rows());
  Vector<Scalar> const b = affine ? Vector<Scalar>(parameters.at(beta()).col(0)) : Vector<Scalar>::Zero(x.rows());
  auto const e = static_cast<Scalar>(eps);
  Index const d = group_features(x.rows());
  y.resize(x.rows(), x.cols());
  auto const start = std::chrono::steady_clock::now();
  NormStatistics<Scalar>& kept = activations.statistics;
  if (kind == NormKind::layer_norm) {
    pass == Pass::training ? parallel_layer_norm(x, d, g, b, e, y, kept) : parallel_layer_norm(x, d, g, b, e, y);
  } else {
    pass == Pass::training ? parallel_layer_scaling(x, d, g, b, e, y, kept) : parallel_layer_scaling(x, d, g, b, e, y);
  }
  activations.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <real_scalar Scalar>
void Norm::backward(Vector<Scalar> const& g, Matrix<Scalar> const& dy, Matrix<Scalar> const& x,
                    NormActivations<Scalar> const& activations, Matrix<Scalar>& dx,
                    OptionalOutput<Scalar> const& dgamma, OptionalOutput<Scalar> const& dbeta) const {
  BackwardOptions const adding{.add_to_parameters = true};
  if (kind == NormKind::layer_norm) {
    parallel_layer_norm_backward(dy, x, g, activations.statistics, dx, dgamma, dbeta, adding);
  } else {
    parallel_layer_scaling_backward(dy, x, g, activations.statistics, dx, dgamma, dbeta, adding);
  }
}

extern template void Norm::forward(NamedMatrices<float> const&, Matrix<float> const&, Matrix<float>&,
                                   NormActivations<float>&, Pass) const;
extern template void Norm::backward(Vector<float> const&, Matrix<float> const&, Matrix<float> const&,
                                    NormActivations<float> const&, Matrix<float>&, OptionalOutput<float> const&,
                                    OptionalOutput<float> const&) const;
extern template void Norm::forward(NamedMatrices<double> const&, Matrix<double> const&, Matrix<double>&,
                                   NormActivations<double>&, Pass) const;
extern template void Norm::backward(Vector<double> const&, Matrix<double> const&, Matrix<double> const&,
                                    NormActivations<double> const&, Matrix<double>&, OptionalOutput<double> const&,
                                    OptionalOutput<double> const&) const;

}  // namespace foldnorm::training
