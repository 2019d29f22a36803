// SPDX-License-Identifier: MIT
// foldnorm/constructions/detail/parallel_chains.hpp -- chains side by side as one network, one chain for each bit.
//
//   width 3 B, block-diagonal weights, LayerNorm in groups of three; logit of class k = sum over b of +-z_b
//
// with z_b the readout of chain b, and + where bit b of k is 1: the largest logit is the class whose bits are the signs
// of z, whether or not the number of classes is a power of two. A chain that has come to its end is padded by layers
// that keep its state. Derived for this library.
#pragma once

#include <foldnorm/constructions/detail/class_codes.hpp>
#include <foldnorm/constructions/detail/fold_chain.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/layers/linear.hpp>
#include <foldnorm/layers/parallel_layer_norm.hpp>
#include <foldnorm/layers/sequential.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace foldnorm::detail {

// Precondition: chains for some bits, of the same samples and norm.
template <real_scalar Scalar>
Sequential<Scalar> parallel_network(std::vector<FoldChain<Scalar>> const& chains, std::size_t classes,
                                    ChainNorm const& norm) {
  auto const width = static_cast<Index>(3 * chains.size());
  std::size_t depth = 0;
  for (FoldChain<Scalar> const& chain : chains) depth = std::max(depth, chain.linears.size());
  Linear<Scalar> const padding = padding_layer<Scalar>(norm.kappa);
  Sequential<Scalar> network;
  for (std::size_t i = 0; i < depth; ++i) {
    Linear<Scalar> linear(i == 0 ? chains[0].linears[0].in_features() : width, width);
    for (std::size_t b = 0; b < chains.size(); ++b) {
      auto const row = static_cast<Index>(3 * b);
      Linear<Scalar> const& own = i < chains[b].linears.size() ? chains[b].linears[i] : padding;
      linear.weight.block(row, i == 0 ? 0 : row, 3, i == 0 ? linear.in_features() : 3) = own.weight;
      linear.bias.segment(row, 3) = own.bias;
    }
    network.append(std::move(linear));
    network.append(ParallelLayerNorm<Scalar>(width, 3, norm.options));
  }
  Matrix<double> weight(static_cast<Index>(classes), width);
  Vector<double> bias = Vector<double>::Zero(weight.rows());
  for (Index k = 0; k < weight.rows(); ++k) {
    for (std::size_t b = 0; b < chains.size(); ++b) {
      double const sign = code_bit(static_cast<std::size_t>(k), b) ? 1 : -1;
      weight.row(k).segment(static_cast<Index>(3 * b), 3) = sign * chains[b].readout.weight.transpose();
      bias(k) += sign * chains[b].readout.bias;
    }
  }
  network.append(Linear<Scalar>(weight.template cast<Scalar>(), bias.template cast<Scalar>()));
  return network;
}

}  // namespace foldnorm::detail
