// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/branch_rules.hpp -- If, Loop and Scan, whose inner graphs the index counts as part of the graph.
//
// Which branch runs is the same for all tokens, so that a value of either is like tokens of both: whoever reads it
// reads each of them, and it has zero mean where both have. Of a body's inputs nothing is known, and the node that
// the body is in (which no rule knows) sees every change of its outputs: what the first run computes, each does.
#pragma once

#include <foldnorm/onnx/detail/elementwise_rules.hpp>
#include <foldnorm/onnx/detail/network_builder.hpp>

#include <string>

namespace foldnorm::detail {

inline bool add_branches(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const branches = to.index.inner_graphs(n);
  if (branches.empty()) return false;
  to.watch(node.input(0), n, ".condition");
  for (int k = 0; k < node.output_size(); ++k) {
    std::string const &output = node.output(k), &a = branches[0]->output(k).name(), &b = branches[1]->output(k).name();
    if (output.empty()) {
      to.watch(a, n, ".unread");
      to.watch(b, n, ".unread");
      continue;
    }
    auto const leader = leading(to, a, b);
    if (!leader) {
      to.define_opaque(output, to.fresh_name(output), to.made({a, b}), n);
      continue;
    }
    NodeId const either =
        to.graph().concat_tokens(to.fresh_name(output), {to.along(a, *leader, n), to.along(b, *leader, n)});
    to.define(output, either, leader->axis, n);
  }
  return true;
}

// In front of all nodes, as a graph's inputs are. Nothing can be inserted behind them: there, the main graph's nodes
// are.
inline void add_body_inputs(NetworkBuilder& to) {
  for (int n = 0; n < to.index.size(); ++n) {
    for (auto const* const body : to.index.inner_graphs(n)) {
      for (auto const& input : body->input()) {
        NodeId const made = to.define_opaque(input.name(), to.fresh_name(input.name()), {}, n);
        to.remember(made, {n, "", to.network.origin(made).axis});
      }
    }
  }
}

}  // namespace foldnorm::detail
