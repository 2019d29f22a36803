// SPDX-License-Identifier: MIT
// end_to_end/folds.hpp -- the folds of a network that are timed, and random parameters for it.
#pragma once

#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/random_values.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <variant>
#include <vector>

namespace foldnorm::end_to_end {

// Sums of up to 50,000 products in up to 50 layers in float: 1e-4 of the largest output is rounding; a wrong fold is
// wrong by its size.
inline constexpr double largest_rounding = 1e-3;

inline constexpr std::array<char const*, 2> fold_names{"centering", "and affine"};

// The centering, and, where any gamma or beta can move, both.
inline std::vector<FoldReport> fold_reports(Graph const& graph) {
  FoldOptions options;
  options.tied = TiedTables::untie;
  options.insert_centering = PlacementCosts{};
  FoldReport const centering = find_foldable_norms(graph, options);
  options.affine = true;
  FoldReport const both = find_foldable_norms(graph, options);
  if (std::ranges::none_of(both.affines, &AffineVerdict::moves)) return {centering};
  return {centering, both};
}

// The random values in float, so that a large network needs half the memory.
inline Parameters float_parameters(Graph const& graph, Index tokens, std::uint64_t seed) {
  Parameters parameters;
  for (auto const& [name, value] : random_parameters(graph, tokens, seed)) {
    std::visit([&, &key = name](auto const& matrix) { parameters.set(key, matrix.template cast<float>()); }, value);
  }
  return parameters;
}

}  // namespace foldnorm::end_to_end
