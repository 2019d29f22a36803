// SPDX-License-Identifier: MIT
// foldnorm/graph/dot.hpp -- a drawing of a graph for Graphviz (dot -Tsvg), with a report's verdicts in colour.
//
//   green          layer_norm that folds
//   red            layer_norm that stays, with the reason and the node to blame on it
//   blue outline   node whose parameters are centered
//   dashed         scale that becomes part of the linear above it
#pragma once

#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>

#include <algorithm>
#include <cstddef>
#include <ostream>
#include <string>

namespace foldnorm {

namespace detail {

inline std::string dot_style(Graph const& graph, NodeId id, FoldReport const& report) {
  Node const& node = graph.node(id);
  auto const norm = std::ranges::lower_bound(report.norms, id, {}, &Verdict::norm);
  if (norm != report.norms.end() && norm->norm == id) {
    return norm->folds() ? R"(, style=filled, fillcolor="#b7e1b0")" : R"(, style=filled, fillcolor="#f4b6ae")";
  }
  if (std::ranges::find(report.compositions, id, &Composition::scale) != report.compositions.end()) {
    return ", style=dashed";
  }
  for (ParameterId const parameter : node.parameters) {
    if (parameter.present() && std::ranges::find(report.centerings, graph.parameter(parameter).name,
                                                 &Centering::parameter) != report.centerings.end()) {
      return R"(, color="#2457a5", penwidth=2)";
    }
  }
  return "";
}

inline std::string dot_verdict(NodeId id, FoldReport const& report) {
  auto const norm = std::ranges::lower_bound(report.norms, id, {}, &Verdict::norm);
  if (norm == report.norms.end() || norm->norm != id) return "";
  if (norm->folds()) return "\\nfolds";
  return "\\nstays: " + std::string(to_string(norm->refusal->reason)) + ' ' + norm->refusal->blame_name;
}

}  // namespace detail

// Without a report, a plain drawing. Names need no escapes: the format allows letters, digits and _ . / - only.
inline void write_dot(std::ostream& out, Graph const& graph, FoldReport const& report = {}) {
  out << "digraph foldnorm {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\", fontsize=11];\n"
         "  edge [arrowsize=0.7];\n";
  for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
    Node const& node = graph.nodes()[n];
    NodeId const id{static_cast<std::int32_t>(n)};
    out << "  \"" << node.name << "\" [label=\"" << node.name << "\\n" << to_string(node.op);
    if (node.features > 0) out << ' ' << node.features;
    out << detail::dot_verdict(id, report) << '"' << detail::dot_style(graph, id, report) << "];\n";
    for (NodeId const input : node.inputs)
      out << "  \"" << graph.node(input).name << "\" -> \"" << node.name << "\";\n";
  }
  out << "}\n";
}

}  // namespace foldnorm
