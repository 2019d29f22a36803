// SPDX-License-Identifier: MIT
// foldnorm/graph/find_foldable_norms.hpp -- which layer_norms can become rms_norms by centering weights alone, what to
// center, and for every other norm the reason and the node to blame.
//
// before:  h = linear(x; W, b)    n = layer_norm(h; gamma, beta, eps)
// after:   h = linear(x; PW, Pb)  n = rms_norm(h; gamma, beta, eps)
//
// Legal iff every value that reaches the norm comes out of centered linear maps, and nobody else can tell the
// difference. Sound; complete outside the exceptions that docs/folding.md lists. Foldable LayerNorm (arXiv:2605.14521).
#pragma once

#include <foldnorm/graph/affine_moves.hpp>
#include <foldnorm/graph/blame.hpp>
#include <foldnorm/graph/fold_facts.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/known_values.hpp>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <utility>
#include <vector>

namespace foldnorm {

namespace detail {

// Backward once more: which of the chosen centerings do the folds rest on? The intervals needed of each parameter
// class.
struct NeededCenterings {
  std::vector<Segments> by_class;
  std::vector<NodeId> composed;  // linears whose scale must go into them, ascending

  NeededCenterings(FoldFacts const& facts, std::vector<NodeId> const& folds)
      : by_class(facts.graph().parameters().size()) {
    Graph const& graph = facts.graph();
    std::vector<Segments> needed(graph.nodes().size());
    auto const need = [&](NodeId value, Segments const& regions) {
      needed[static_cast<std::size_t>(value.index)].unite(facts.zero_mean(value).within(regions));
    };
    auto const need_parameters = [&](NodeId producer, Segments const& regions) {
      auto const parameters = facts.producing_parameters(producer);
      if (parameters.empty()) return;
      ParameterId const name = facts.class_of(parameters[0]);
      by_class[static_cast<std::size_t>(name.index)].unite(facts.chosen(name).within(regions));
    };
    for (NodeId const norm : folds) {
      Node const& node = graph.node(norm);
      need(node.inputs[0], Segments::blocks(node.features, groups_of(node)));
    }
    for (std::size_t n = needed.size(); n-- > 0;) {
      if (needed[n].empty()) continue;
      NodeId const id{static_cast<std::int32_t>(n)};
      Node const& node = graph.node(id);
      switch (facts.flow_of(id)) {
        case Flow::rearranges:
          for (std::size_t i = 0; i < node.inputs.size(); ++i) {
            need(node.inputs[i], pull_regions(graph, node, i, needed[n]));
          }
          break;
        case Flow::adds_parameter:
          need(node.inputs[0], needed[n]);
          need_parameters(id, needed[n]);
          break;
        case Flow::rescales:
          need(node.inputs[0], needed[n]);
          break;
        case Flow::produces:
          need_parameters(id, needed[n]);
          break;
        case Flow::scales:
          need_parameters(facts.partner(id), needed[n]);
          composed.push_back(facts.partner(id));
          break;
        default:
          break;  // a norm or a center makes zero mean by itself
      }
    }
    std::ranges::sort(composed);
  }
};

}  // namespace detail

// Pure and total: any Graph gives a report (only options that contradict each other throw std::invalid_argument: affine
// in training, where gamma and the weights that read it are trained apart). Cost: linear in nodes and reads, times the
// number of intervals that groups, slices and concatenations cut the features into; iterative. The set of folds does
// not depend on names or on the order of statements.
inline FoldReport find_foldable_norms(Graph const& graph, FoldOptions const& options = {}) {
  if (options.affine && options.mode == FoldMode::training) {
    throw std::invalid_argument(
        "find_foldable_norms: options: affine in training: gamma and the weights that read it are trained apart");
  }
  detail::FoldFacts const facts(graph, options);
  detail::Blame blame(facts);
  FoldReport report;
  std::vector<NodeId> folds;
  for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
    Node const& node = graph.nodes()[n];
    if (node.op != Operator::layer_norm) continue;
    NodeId const id{static_cast<std::int32_t>(n)};
    if (facts.folds(id)) {
      folds.push_back(id);
      report.norms.push_back({id, node.name, std::nullopt});
    } else {
      report.norms.push_back({id, node.name, blame.of_norm(id)});
    }
  }
  detail::NeededCenterings const needed(facts, folds);
  for (NodeId const linear : needed.composed) report.compositions.push_back({linear, facts.partner(linear)});
  for (std::size_t p = 0; p < graph.parameters().size(); ++p) {
    ParameterDescription const& parameter = graph.parameters()[p];
    ParameterId const id{static_cast<std::int32_t>(p)};
    detail::Segments const& parts = needed.by_class[static_cast<std::size_t>(facts.class_of(id).index)];
    if (parts.empty()) continue;
    report.centerings.push_back({parameter.name, parts.intervals(), parameter.rows});
    bool const has_head = std::ranges::any_of(parameter.uses, [&](ParameterUse const& use) {
      return use.role == Key::weight && facts.is_head(graph.node(use.node));
    });
    if (has_head) report.untied.push_back(parameter.name);
  }
  if (options.affine) {
    report.affines = detail::AffineMoves(facts, detail::KnownValues(graph, options.parameters), report.untied).take();
  }
  return report;
}

}  // namespace foldnorm
