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
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

// Uniform in [-sqrt(3), sqrt(3)): unit variance.
inline Matrix<double> random_matrix(Index rows, Index columns, std::mt19937_64& random) {
  return Matrix<double>::NullaryExpr(rows, columns, [&] { return std::sqrt(3.0) * (2 * unit_draw(random) - 1); });
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
    if (is_gain) value = (1 + 0.3 * value.array()).matrix().eval();
    if (use.role == Key::weight) value /= std::sqrt(static_cast<double>(std::max<Index>(columns, 1)));
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
      inputs.emplace(node.name, Matrix<double>::NullaryExpr(
                                    1, tokens, [&] { return static_cast<double>(detail::index_draw(random, vocab)); }));
    }
  }
  return inputs;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
