// SPDX-License-Identifier: MIT
// foldnorm/graph/token_counts.hpp -- how many tokens each value has, once the inputs are known to have some number.
#pragma once

#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/shapes.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

inline void require_tokens(bool holds, Node const& node, Index a, Index b) {
  require(holds, node, "operands of " + std::to_string(a) + " and " + std::to_string(b) + " tokens");
}

inline Index value_tokens(Node const& node, std::vector<Index> const& inputs) {
  switch (node.op) {
    case Operator::opaque:
      require(false, node, "cannot be evaluated");
      return 0;
    case Operator::add:
    case Operator::subtract:
    case Operator::multiply: {  // one token is repeated
      Index const most = *std::ranges::max_element(inputs);
      for (Index const tokens : inputs) require_tokens(tokens == most || tokens == 1, node, most, tokens);
      return most;
    }
    case Operator::concat_features:
      for (Index const tokens : inputs) require_tokens(tokens == inputs[0], node, inputs[0], tokens);
      return inputs[0];
    case Operator::concat_tokens: {
      Index sum = 0;
      for (Index const tokens : inputs) {
        sum += tokens;
        require(sum <= largest_count, node, "has more than 2^31 - 1 tokens");
      }
      return sum;
    }
    case Operator::mean_tokens:
    case Operator::max_tokens:
      require(inputs[0] > 0, node, "there are no tokens");
      return 1;
    case Operator::merge_tokens:
      require_divides(node.count(Key::ratio), inputs[0], node, "ratio", "the tokens");
      return inputs[0] / node.count(Key::ratio);
    case Operator::attention:
      require_tokens(inputs[1] == inputs[2], node, inputs[1], inputs[2]);
      require(inputs[1] > 0, node, "there are no keys");
      return inputs[0];
    default:
      return inputs[0];
  }
}

// By node; `of_source` gives the tokens of an input or ids node. Throws graph_error where tokens do not fit, and at an
// opaque node.
template <class TokensOfSource>
std::vector<Index> count_tokens(Graph const& graph, TokensOfSource of_source) {
  std::vector<Index> tokens;
  tokens.reserve(graph.nodes().size());
  std::vector<Index> inputs;
  for (Node const& node : graph.nodes()) {
    if (node.op == Operator::input || node.op == Operator::ids) {
      tokens.push_back(of_source(node));
      continue;
    }
    inputs.clear();
    for (NodeId const input : node.inputs) inputs.push_back(tokens[static_cast<std::size_t>(input.index)]);
    tokens.push_back(value_tokens(node, inputs));
  }
  return tokens;
}

}  // namespace detail

// The tokens of every value, by node, if every input has `tokens` of them. Throws graph_error where operands do not fit
// (a merge_tokens whose ratio does not divide, say), and at an opaque node.
inline std::vector<Index> token_counts(Graph const& graph, Index tokens) {
  return detail::count_tokens(graph, [&](Node const&) { return tokens; });
}

}  // namespace foldnorm::inline FOLDNORM_ABI
