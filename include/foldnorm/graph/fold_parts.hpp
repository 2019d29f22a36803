// SPDX-License-Identifier: MIT
// foldnorm/graph/fold_parts.hpp -- a fold in parts that are carried out one after the other, for models that are larger
// than memory.
#pragma once

#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters_to_fold.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// Changes of parameters that hang together. It says nothing of norms and insertions, which change no parameter.
struct FoldPart {
  FoldReport report;
  std::set<std::string, std::less<>> parameters;  // that fold_norms reads to carry it out
};

namespace detail {

// Which parameters change together: those of a layer, and of a scale that becomes part of one.
class ParameterGroups {
 public:
  ParameterGroups(Graph const& graph, FoldReport const& report) : graph_(graph), group_(graph.parameters().size()) {
    for (std::size_t p = 0; p < group_.size(); ++p) group_[p] = p;
    for (Node const& node : graph.nodes()) {
      if (node.op == Operator::linear || node.op == Operator::conv) join_all(node, node);
    }
    for (Composition const& pair : report.compositions) join_all(graph.node(pair.linear), graph.node(pair.scale));
  }

  std::size_t of(ParameterId parameter) {
    auto p = static_cast<std::size_t>(parameter.index);
    while (group_[p] != p) p = group_[p] = group_[group_[p]];
    return p;
  }
  std::size_t of(std::string const& parameter) { return of(*graph_.find_parameter(parameter)); }
  std::size_t of_layer(NodeId layer) { return of(graph_.node(layer).parameter(Key::weight)); }

 private:
  void join_all(Node const& a, Node const& b) {
    for (ParameterId const first : a.parameters) {
      for (ParameterId const second : b.parameters) {
        if (!first.present() || !second.present()) continue;
        std::size_t const p = of(first), q = of(second);
        group_[std::max(p, q)] = std::min(p, q);
      }
    }
  }

  Graph const& graph_;
  std::vector<std::size_t> group_;  // by parameter: one of its group, the smallest for itself
};

}  // namespace detail

// Parts of this report, in the order of the graph: carried out by fold_norms, each on the original values, they give
// every parameter the value that the whole report gives it. A part changes parameters of at most so many numbers
// together, or what cannot be told apart (a layer). Linear. Precondition: the report is one of this graph.
inline std::vector<FoldPart> fold_parts(Graph const& graph, FoldReport const& report, double most_numbers) {
  detail::ParameterGroups groups(graph, report);
  std::set<std::size_t> changing;
  for (Centering const& centering : report.centerings) changing.insert(groups.of(centering.parameter));
  for (std::string const& table : report.untied) changing.insert(groups.of(table));
  for (AffineVerdict const& affine : report.affines) {
    for (NodeId const reader : affine.readers) changing.insert(groups.of_layer(reader));
  }
  std::map<std::size_t, double> numbers;  // by group
  for (std::size_t p = 0; p < graph.parameters().size(); ++p) {
    ParameterDescription const& parameter = graph.parameters()[p];
    numbers[groups.of(ParameterId{static_cast<std::int32_t>(p)})] +=
        static_cast<double>(parameter.rows) * static_cast<double>(std::max(parameter.columns, Index{1}));
  }
  std::vector<FoldPart> parts;
  std::map<std::size_t, std::size_t> part_of;  // by group
  double together = 0;
  for (std::size_t const group : changing) {
    together += numbers[group];
    if (parts.empty() || together > most_numbers) {
      parts.emplace_back();
      together = numbers[group];
    }
    part_of[group] = parts.size() - 1;
  }
  auto const part = [&](std::size_t group) -> FoldReport& { return parts[part_of.at(group)].report; };
  for (Centering const& centering : report.centerings) {
    part(groups.of(centering.parameter)).centerings.push_back(centering);
  }
  for (Composition const& pair : report.compositions) part(groups.of_layer(pair.linear)).compositions.push_back(pair);
  for (std::string const& table : report.untied) part(groups.of(table)).untied.push_back(table);
  for (CorrectedHead const& head : report.corrected) part(groups.of(head.table)).corrected.push_back(head);
  for (AffineVerdict const& affine : report.affines) {
    std::map<std::size_t, std::vector<NodeId>> readers;  // by part
    for (NodeId const reader : affine.readers) readers[part_of.at(groups.of_layer(reader))].push_back(reader);
    for (auto const& [p, those] : readers) {
      parts[p].report.affines.push_back(affine);
      parts[p].report.affines.back().readers = those;
    }
  }
  for (FoldPart& p : parts) p.parameters = parameters_to_fold(graph, p.report);
  return parts;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
