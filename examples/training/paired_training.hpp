// SPDX-License-Identifier: MIT
// training/paired_training.hpp -- one network in two forms, LayerNorm and centered weights with RMSNorm, trained step
// by step on the same values and batches.
#pragma once

#include <foldnorm/graph/find_foldable_norms.hpp>

#include "../matrix_difference.hpp"
#include "batch_gradients.hpp"
#include "centered_optimizer.hpp"
#include "graph_network.hpp"
#include "initial_parameters.hpp"
#include "optimizer.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace foldnorm::training {

// The same network with a layer_norm, and with an rms_norm, wherever a norm stands.
struct NormPair {
  Graph layer_norm, rms_norm;
  GraphNetworkOptions options;

  // What a centered training centers. Throws std::invalid_argument if the training is not LayerNorm's then.
  std::vector<Centering> centerings() const {
    FoldReport const report = find_foldable_norms(layer_norm, {.mode = FoldMode::training});
    for (Verdict const& norm : report.norms) {
      if (!norm.folds()) throw std::invalid_argument("NormPair: " + norm.name + " does not fold in training");
    }
    return report.centerings;
  }

  template <real_scalar Scalar>
  NamedMatrices<Scalar> start(std::uint64_t seed) const {
    std::mt19937_64 random(seed);
    return initial_parameters<Scalar>(layer_norm, random, options.tokens);
  }
};

// What is centered in a training with rms_norms; none: a training with layer_norms.
using WeightCentering = std::optional<std::vector<Centering>>;

template <real_scalar Scalar>
class PairedTraining {
 public:
  using MakeOptimizer = std::function<AnyOptimizer<Scalar>(NamedMatrices<Scalar> const&)>;

  // seed: of dropout and stochastic depth.
  PairedTraining(NormPair const& pair, WeightCentering centering, MakeOptimizer const& make,
                 NamedMatrices<Scalar> start, std::uint64_t seed, int workers = worker_count,
                 Stored stored = Stored::apart)
      : network_(centering ? pair.rms_norm : pair.layer_norm, std::move(start), pair.options),
        gradients_(network_, seed, workers),
        optimizer_(make(network_.parameters)) {
    if (centering) centered_.emplace(optimizer_, *centering, network_.parameters, stored);
  }

  // Returns the mean loss before the step.
  template <class Data>
  double step(Data const& data, std::span<Index const> chosen, double rate) {
    LossSums const sums = gradients_.compute(network_, data, chosen);
    NamedMatrices<Scalar>& gradients = gradients_.gradients();
    centered_ ? update_all(*centered_, network_.parameters, gradients, rate)
              : update_all(optimizer_, network_.parameters, gradients, rate);
    return sums.mean_loss();
  }

  // As the optimizer sees them.
  NamedMatrices<Scalar> stored() const {
    return centered_ ? centered_->stored(network_.parameters) : network_.parameters;
  }
  GraphNetwork<Scalar> const& network() const { return network_; }
  double take_norm_seconds() { return gradients_.take_norm_seconds(); }

 private:
  GraphNetwork<Scalar> network_;
  BatchGradients<GraphNetwork<Scalar>> gradients_;
  AnyOptimizer<Scalar> optimizer_;
  std::optional<CenteredOptimizer<Scalar>> centered_;
};

// The largest difference between two models' parameters, each matrix relative to its largest entry in `a`.
template <real_scalar Scalar>
double parameter_distance(NamedMatrices<Scalar> const& a, NamedMatrices<Scalar> const& b) {
  double largest = 0;
  for (auto const& [name, m] : a) {
    largest = std::max(largest, relative_difference(m, b.at(name)));
  }
  return largest;
}

}  // namespace foldnorm::training
