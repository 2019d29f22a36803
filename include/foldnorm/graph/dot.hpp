// SPDX-License-Identifier: MIT
// foldnorm/graph/dot.hpp -- a drawing of a graph for Graphviz (dot -Tsvg), with a report's verdicts in colour.
//
//   green          layer_norm that folds
//   red            layer_norm that stays, with the reason and the node to blame on it
//   blue outline   node whose parameters are centered
//   orange         center that is inserted, and the way through it
//   dashed         scale that becomes part of the linear above it
//   "corrected"    head that adds what its table loses by being centered
//   "bare"         norm whose gamma and beta move into its readers; "keeps gamma, beta", with reason and node, where
//   asked
//                  to and they do not
#pragma once

#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>

#include <cstddef>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <string_view>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

// The report, by node and parameter: a drawing asks once for each.
struct DrawnReport {
  std::map<NodeId, Verdict const*> norms;
  std::map<NodeId, AffineVerdict const*> affines;
  std::set<NodeId> dropped;
  std::set<NodeId> inserted;
  std::set<NodeId> corrected;
  std::set<std::string_view> centered;

  explicit DrawnReport(FoldReport const& report) {
    for (Verdict const& norm : report.norms) norms.emplace(norm.norm, &norm);
    for (AffineVerdict const& affine : report.affines) affines.emplace(affine.norm, &affine);
    for (Composition const& pair : report.compositions) dropped.insert(pair.scale);
    for (Centering const& centering : report.centerings) centered.insert(centering.parameter);
    for (CorrectedHead const& head : report.corrected) corrected.insert(head.head);
    if (!report.placement) return;
    for (InsertionSet const& set : report.placement->sets) {
      for (Insertion const& insertion : set.insertions) inserted.insert(insertion.node);
    }
  }
};

inline std::string dot_style(Graph const& graph, NodeId id, DrawnReport const& report) {
  Node const& node = graph.node(id);
  if (auto const norm = report.norms.find(id); norm != report.norms.end()) {
    return norm->second->folds() ? R"(, style=filled, fillcolor="#b7e1b0")" : R"(, style=filled, fillcolor="#f4b6ae")";
  }
  if (report.dropped.contains(id)) return ", style=dashed";
  for (ParameterId const parameter : node.parameters) {
    if (!parameter.present() || !report.centered.contains(graph.parameter(parameter).name)) continue;
    bool const is_head = node.op == Operator::linear && graph.parameter(parameter).is_table;  // keeps a copy
    if (!is_head) return R"(, color="#2457a5", penwidth=2)";
  }
  return "";
}

inline std::string dot_verdict(NodeId id, DrawnReport const& report) {
  std::string text;
  auto const say = [&](auto const& verdicts, char const* yes, char const* no) {
    auto const found = verdicts.find(id);
    if (found == verdicts.end()) return;
    auto const& refusal = found->second->refusal;
    text += refusal ? no + std::string(to_string(refusal->reason)) + ' ' + refusal->blame_name : yes;
  };
  say(report.norms, "\\nfolds", "\\nstays: ");
  if (report.corrected.contains(id)) text += "\\ncorrected";
  say(report.affines, "\\nbare", "\\nkeeps gamma, beta: ");
  return text;
}

}  // namespace detail

// Without a report, a plain drawing. Names need no escapes: the format allows letters, digits and _ . / - only.
inline void write_dot(std::ostream& out, Graph const& graph, FoldReport const& report = {}) {
  detail::DrawnReport const drawn(report);
  out << "digraph foldnorm {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\", fontsize=11];\n"
         "  edge [arrowsize=0.7];\n";
  for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
    Node const& node = graph.nodes()[n];
    NodeId const id{static_cast<std::int32_t>(n)};
    out << "  \"" << node.name << "\" [label=\"" << node.name << "\\n" << to_string(node.op);
    if (node.features > 0) out << ' ' << node.features;
    out << detail::dot_verdict(id, drawn) << '"' << detail::dot_style(graph, id, drawn) << "];\n";
    if (drawn.inserted.contains(id)) {
      std::string const center = "\"" + node.name + " centered\"";  // a name that no node can have
      out << "  " << center << R"( [label="center", shape=ellipse, style=filled, fillcolor="#f9d08b"];)"
          << "\n  \"" << node.name << "\" -> " << center << R"( [color="#b36b00", penwidth=2];)" << '\n';
    }
    for (NodeId const input : node.inputs) {
      char const* const by_way_of = drawn.inserted.contains(input) ? " centered" : "";
      out << "  \"" << graph.node(input).name << by_way_of << "\" -> \"" << node.name << "\";\n";
    }
  }
  out << "}\n";
}

}  // namespace foldnorm::inline FOLDNORM_ABI
