// SPDX-License-Identifier: MIT
// foldnorm/graph/random_values.hpp -- random parameters and inputs that fit a graph, the same on every platform.
#pragma once

#include <foldnorm/core/random_draws.hpp>
#include <foldnorm/graph/evaluate.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/graph/token_counts.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

// Uniform in [-sqrt(3), sqrt(3)): unit variance.
inline Matrix<double> random_matrix(Index rows, Index columns, std::mt19937_64& random) {
  Matrix<double> drawn(rows, columns);
  for (Index i = 0; i < drawn.size(); ++i) drawn.data()[i] = std::sqrt(3.0) * (2 * unit_draw(random) - 1);
  return drawn;
}

}  // namespace detail

// Generic values (no zero means, no uniform gains) at a scale that keeps activations near unit size: weights are
// divided by the root of what they sum over, gains lie around 1. `tokens` is that of every input. Throws as
// token_counts does.
inline Parameters random_parameters(Graph const& graph, Index tokens, std::uint64_t seed) {
  std::vector<Index> const counts = token_counts(graph, tokens);
  std::mt19937_64 random(seed);
  Parameters parameters;
  for (ParameterDescription const& parameter : graph.parameters()) {
    ParameterUse const& use = parameter.uses.front();
    Index const columns = parameter.per_token ? counts[static_cast<std::size_t>(use.node.index)] : parameter.columns;
    Matrix<double> value = detail::random_matrix(parameter.rows, columns, random);
    bool const is_gain = use.role == Key::gamma || use.role == Key::scale ||
                         (use.role == Key::value && graph.node(use.node).op == Operator::scale_channels);
    double const divisor = use.role == Key::weight ? std::sqrt(static_cast<double>(std::max<Index>(columns, 1))) : 1;
    for (Index i = 0; i < value.size(); ++i) {
      double const drawn = value.data()[i];
      value.data()[i] = is_gain ? 1 + 0.3 * drawn : drawn / divisor;
    }
    parameters.set(parameter.name, std::move(value));
  }
  return parameters;
}

// A value for every input and ids node.
inline NamedValues random_inputs(Graph const& graph, Index tokens, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  NamedValues inputs;
  for (Node const& node : graph.nodes()) {
    if (node.op == Operator::input) inputs.emplace(node.name, detail::random_matrix(node.features, tokens, random));
    if (node.op == Operator::ids) {
      auto const vocab = static_cast<std::uint64_t>(node.count(Key::vocab));
      Matrix<double> ids(1, tokens);
      for (Index i = 0; i < tokens; ++i) ids(0, i) = static_cast<double>(detail::index_draw(random, vocab));
      inputs.emplace(node.name, std::move(ids));
    }
  }
  return inputs;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
