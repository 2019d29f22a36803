// SPDX-License-Identifier: MIT
// foldnorm/graph/needed_centerings.hpp -- which of the chosen centerings do given zero means rest on?
#pragma once

#include <foldnorm/graph/fold_facts.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/rules.hpp>
#include <foldnorm/graph/segments.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>
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
    // Parts of by_node and by_class, put together once all are known: a value may be needed a thousand times.
    std::vector<std::vector<Segments::Run>> node_parts(by_node.size()), class_parts(by_class.size());
    auto const add = [](std::vector<Segments::Run>& parts, Segments const& more) {
      parts.insert(parts.end(), more.runs().begin(), more.runs().end());
    };
    auto const need = [&](NodeId value, Segments const& regions) {
      add(node_parts[static_cast<std::size_t>(value.index)], facts.zero_mean(value).within(regions));
    };
    auto const need_parameters = [&](NodeId producer, Segments const& regions) {
      auto const parameters = facts.producing_parameters(producer);
      if (parameters.empty()) return;
      ParameterId const name = facts.class_of(parameters[0]);
      add(class_parts[static_cast<std::size_t>(name.index)], facts.chosen(name).within(regions));
    };
    for (NeededZeroMean const& needed : zero_means) need(needed.value, needed.regions);
    for (std::size_t n = by_node.size(); n-- > 0;) {
      by_node[n] = Segments::of_parts(std::move(node_parts[n]));
      NodeId const id{static_cast<std::int32_t>(n)};
      if (by_node[n].empty() || facts.is_inserted(id)) continue;
      Node const& node = graph.node(id);
      switch (facts.flow_of(id)) {
        case Flow::rearranges: {
          Index before = 0;
          for (std::size_t i = 0; i < node.inputs.size(); ++i) {
            need(node.inputs[i], pull_regions(pieces(graph, node, i, before), by_node[n]));
            before += graph.node(node.inputs[i]).features;
          }
          break;
        }
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
    for (std::size_t p = 0; p < by_class.size(); ++p) by_class[p] = Segments::of_parts(std::move(class_parts[p]));
    std::ranges::sort(composed);
  }
};

}  // namespace foldnorm::detail
