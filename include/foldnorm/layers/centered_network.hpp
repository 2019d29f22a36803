// SPDX-License-Identifier: MIT
// foldnorm/layers/centered_network.hpp -- a chain with LayerNorms as one to train with centered weights, and back.
//
//   Linear -> LayerNorm      =      CenteredLinear -> RMSNorm      with the same weights, gamma, beta and eps
//
// In a chain nobody else reads a linear layer's output, so every such pair changes; graph/find_foldable_norms.hpp tells
// about other networks. Foldable LayerNorm, arXiv:2605.14521.
#pragma once

#include <foldnorm/layers/centered.hpp>
#include <foldnorm/layers/layer_norm.hpp>
#include <foldnorm/layers/linear.hpp>
#include <foldnorm/layers/rms_norm.hpp>
#include <foldnorm/layers/sequential.hpp>

#include <cstddef>
#include <variant>

namespace foldnorm::inline FOLDNORM_ABI {

// Every Linear -> LayerNorm over all features becomes CenteredLinear -> RMSNorm; the rest stays. The parameters keep
// their values and their order, but change their names with their layers'.
template <real_scalar Scalar>
Sequential<Scalar> with_centered_weights(Sequential<Scalar> const& network) {
  Sequential<Scalar> result;
  auto const& layers = network.layers();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    auto const* const linear = std::get_if<Linear<Scalar>>(&layers[i]);
    auto const* const norm = i + 1 < layers.size() ? std::get_if<LayerNorm<Scalar>>(&layers[i + 1]) : nullptr;
    if (!linear || !norm || norm->groups() != 1) {
      result.append(layers[i]);
      continue;
    }
    RMSNorm<Scalar> bare(norm->in_features(), norm->options());
    bare.gamma = norm->gamma;
    bare.beta = norm->beta;
    result.append(CenteredLinear<Scalar>(*linear));
    result.append(bare);
    ++i;
  }
  return result;
}

// The same network for inference: every CenteredLinear becomes the Linear it computes, and stays so.
template <real_scalar Scalar>
Sequential<Scalar> frozen(Sequential<Scalar> const& network) {
  Sequential<Scalar> result;
  for (Layer<Scalar> const& layer : network.layers()) {
    auto const* const centered = std::get_if<CenteredLinear<Scalar>>(&layer);
    centered ? result.append(centered->centered()) : result.append(layer);
  }
  return result;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
