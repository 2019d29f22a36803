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

#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/affine_moves.hpp>
#include <foldnorm/graph/blame.hpp>
#include <foldnorm/graph/fold_facts.hpp>
#include <foldnorm/graph/fold_options.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/known_values.hpp>
#include <foldnorm/graph/needed_centerings.hpp>
#include <foldnorm/graph/place_centering.hpp>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// Pure and total: any Graph gives a report. Only options throw std::invalid_argument: affine, or tied tables that are
// not refused, in training, where gamma and the weights that read it, or a table and what its heads keep of it, would
// be trained apart; a cost or profit of insert_centering that is negative or not finite. The set of folds does not
// depend on names or on the order of statements. Iterative. Cost: linear in nodes and reads, times the number of
// intervals that groups, merged tokens, slices and concatenations cut the features into (24 bytes and some 10 ns each,
// of every value that has them: a billion groups are beyond most machines), and with insert_centering a minimum cut
// (minimum_cut.hpp).
inline FoldReport find_foldable_norms(Graph const& graph, FoldOptions const& options = {}) {
  if (options.affine && options.mode == FoldMode::training) {
    detail::raise<std::invalid_argument>(
        "find_foldable_norms: options: affine in training: gamma and the weights that read it are trained apart");
  }
  if (options.tied != TiedTables::refuse && options.mode == FoldMode::training) {
    detail::raise<std::invalid_argument>(
        "find_foldable_norms: options: tied in training: a table and what its heads keep of it are trained apart");
  }
  detail::FoldFacts facts(graph, options);
  FoldReport report;
  if (options.insert_centering) {
    report.placement = detail::place_centering(facts, *options.insert_centering);
    facts.insert_centering(*report.placement);
  }
  detail::Blame blame(facts);
  std::vector<detail::NeededZeroMean> needed_by_folds;
  for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
    Node const& node = graph.nodes()[n];
    if (node.op != Operator::layer_norm) continue;
    NodeId const id{static_cast<std::int32_t>(n)};
    if (facts.folds(id)) {
      needed_by_folds.push_back(detail::needed_by_norm(graph, id));
      report.norms.push_back({id, node.name, std::nullopt});
    } else if (facts.can_fold(id)) {
      report.norms.push_back({id, node.name, Refusal{Reason::left_alone, id, node.name}});
    } else {
      report.norms.push_back({id, node.name, blame.of_norm(id)});
    }
  }
  detail::NeededCenterings const needed(facts, needed_by_folds);
  for (NodeId const linear : needed.composed) report.compositions.push_back({linear, facts.partner(linear)});
  for (std::size_t p = 0; p < graph.parameters().size(); ++p) {
    ParameterDescription const& parameter = graph.parameters()[p];
    ParameterId const id{static_cast<std::int32_t>(p)};
    detail::Segments const& parts = needed.by_class[static_cast<std::size_t>(facts.class_of(id).index)];
    if (parts.empty()) continue;
    report.centerings.push_back({parameter.name, parts.intervals(), parameter.rows});
    bool has_head = false;
    for (ParameterUse const& use : parameter.uses) {
      if (use.role != Key::weight || !facts.is_head(graph.node(use.node))) continue;
      has_head = true;
      if (options.tied == TiedTables::correct) {
        report.corrected.push_back({use.node, graph.node(use.node).name, parameter.name});
      }
    }
    if (has_head && options.tied == TiedTables::untie) report.untied.push_back(parameter.name);
  }
  if (options.affine) {
    report.affines = detail::AffineMoves(facts, detail::KnownValues(graph, options.parameters), report.untied).take();
  }
  return report;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
