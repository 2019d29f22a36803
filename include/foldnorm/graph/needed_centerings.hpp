// SPDX-License-Identifier: MIT
// foldnorm/graph/needed_centerings.hpp -- which of the chosen centerings do given zero means rest on?
#pragma once

#include <foldnorm/graph/fold_facts.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/rules.hpp>
#include <foldnorm/graph/segments.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace foldnorm::detail {

// Features of a value that somebody needs to sum to zero, interval by interval.
struct NeededZeroMean {
  NodeId value;
  Segments regions;
};

// What a norm needs: each of its groups.
inline NeededZeroMean needed_by_norm(Graph const& graph, NodeId norm) {
  Node const& node = graph.node(norm);
  return {node.inputs[0], Segments::blocks(node.features, groups_of(node))};
}

// One pass backward. Precondition (ours): the zero means are facts.
struct NeededCenterings {
  std::vector<Segments> by_node;   // what the values must sum to zero on
  std::vector<Segments> by_class;  // what the parameters must be centered on
  std::vector<NodeId> composed;    // linears whose scale must go into them, ascending

  NeededCenterings(FoldFacts const& facts, std::vector<NeededZeroMean> const& zero_means)
      : by_node(facts.graph().nodes().size()), by_class(facts.graph().parameters().size()) {
    Graph const& graph = facts.graph();
    auto const need = [&](NodeId value, Segments const& regions) {
      by_node[static_cast<std::size_t>(value.index)].unite(facts.zero_mean(value).within(regions));
    };
    auto const need_parameters = [&](NodeId producer, Segments const& regions) {
      auto const parameters = facts.producing_parameters(producer);
      if (parameters.empty()) return;
      ParameterId const name = facts.class_of(parameters[0]);
      by_class[static_cast<std::size_t>(name.index)].unite(facts.chosen(name).within(regions));
    };
    for (NeededZeroMean const& needed : zero_means) need(needed.value, needed.regions);
    for (std::size_t n = by_node.size(); n-- > 0;) {
      NodeId const id{static_cast<std::int32_t>(n)};
      if (by_node[n].empty() || facts.is_inserted(id)) continue;
      Node const& node = graph.node(id);
      switch (facts.flow_of(id)) {
        case Flow::rearranges:
          for (std::size_t i = 0; i < node.inputs.size(); ++i) {
            need(node.inputs[i], pull_regions(graph, node, i, by_node[n]));
          }
          break;
        case Flow::adds_parameter:
          need(node.inputs[0], by_node[n]);
          need_parameters(id, by_node[n]);
          break;
        case Flow::rescales:
          need(node.inputs[0], by_node[n]);
          break;
        case Flow::produces:
          need_parameters(id, by_node[n]);
          break;
        case Flow::scales:
          need_parameters(facts.partner(id), by_node[n]);
          composed.push_back(facts.partner(id));
          break;
        default:
          break;  // a norm or a center makes zero mean by itself
      }
    }
    std::ranges::sort(composed);
  }
};

}  // namespace foldnorm::detail
