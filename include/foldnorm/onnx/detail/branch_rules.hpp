// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/branch_rules.hpp -- If, whose branches the index counts as part of the graph.
//
// Which branch runs is the same for all tokens, so that a value of either is like tokens of both: whoever reads it
// reads each of them, and it has zero mean where both have.
#pragma once

#include <foldnorm/onnx/detail/elementwise_rules.hpp>
#include <foldnorm/onnx/detail/network_builder.hpp>

#include <string>

namespace foldnorm::detail {

inline bool add_branches(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const branches = to.index.branches(n);
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

}  // namespace foldnorm::detail
