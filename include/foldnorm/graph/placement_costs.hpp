// SPDX-License-Identifier: MIT
// foldnorm/graph/placement_costs.hpp -- what an inserted centering costs, and what a norm that folds by it brings.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/token_counts.hpp>

#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// Both in one unit of the caller's choice, finite and >= 0, the sum of all norms' as well. A set of centerings is
// inserted where its norms bring more than it costs; the choice is exact where sums of these numbers are (integers
// below 2^53, say).
struct PlacementCosts {
  using OfNode = std::function<double(Graph const&, NodeId)>;
  OfNode insertion = [](Graph const&, NodeId) { return 1.0; };  // one center behind this node
  OfNode norm = [](Graph const&, NodeId) { return 1.0; };       // this layer_norm as an rms_norm
};

// By size, features x tokens, of the value that is centered or normalized, if every input has `tokens` tokens: a center
// and the part of a layer_norm that a fold saves are both two operations an element. Throws as token_counts does. For
// this very graph.
inline PlacementCosts placement_costs_by_size(Graph const& graph, Index tokens) {
  PlacementCosts::OfNode const size = [counts = token_counts(graph, tokens)](Graph const& of, NodeId node) {
    Index const features = of.node(node).features;
    return static_cast<double>(features) * static_cast<double>(counts.at(static_cast<std::size_t>(node.index)));
  };
  return {size, size};
}

namespace detail {

inline double checked_cost(PlacementCosts::OfNode const& cost, Graph const& graph, NodeId node, char const* what) {
  auto const refuse = [&](std::string const& why) {
    detail::raise<std::invalid_argument>(std::string("find_foldable_norms: insert_centering: ") + what + " of " +
                                         graph.node(node).name + ": " + why);
  };
  if (!cost) refuse("no function");
  double const value = cost(graph, node);
  if (!(std::isfinite(value) && value >= 0)) refuse(number_text(value) + ", expected a finite number >= 0");
  return value;
}

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
