// SPDX-License-Identifier: MIT
// tests/graph/graph_testing.hpp -- graphs written as text, folded, and compared with what they were.
#pragma once

#include <foldnorm/graph/certificate.hpp>
#include <foldnorm/graph/evaluate.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/random_values.hpp>
#include <foldnorm/graph/text.hpp>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "graph/instances.hpp"

namespace foldnorm::testing {

// Two evaluations that differ in the order of their roundings: the graphs here sum up to some 1e2 terms in up to some
// 1e2 layers, each of relative error u = 1.1e-16, so 1e4 u bounds what a correct fold leaves (foldable_layer_norm.md,
// section 3, asks for the same 1e-12).
inline constexpr double fold_tolerance = 1e-12;
// A wrong fold is wrong by a shift of the order of the activations themselves.
inline constexpr double visible_error = 1e-3;

inline Graph graph_of(std::string const& text) {
  std::istringstream in(text);
  return read_graph(in, "test");
}

template <class Printable>
std::string printed(Printable const& printable) {
  std::ostringstream out;
  out << printable;
  return out.str();
}

// What fold_norms says to arguments that do not belong together.
inline std::string refusal_of(Graph const& g, FoldReport const& report, Parameters const& p) {
  try {
    fold_norms(g, report, p);
  } catch (std::invalid_argument const& error) {
    return error.what();
  }
  return "no std::invalid_argument";
}

// The verdict lines of a graph given as text.
inline std::string verdicts(std::string const& text, FoldOptions const& options = {}) {
  return printed(find_foldable_norms(graph_of(text), options));
}
inline FoldOptions in_training() {
  FoldOptions options;
  options.mode = FoldMode::training;
  return options;
}
inline FoldOptions untying() {
  FoldOptions options;
  options.tied = TiedTables::untie;
  return options;
}
inline FoldOptions correcting() {
  FoldOptions options;
  options.tied = TiedTables::correct;
  return options;
}
inline FoldOptions moving_affine() {
  FoldOptions options;
  options.affine = true;
  return options;
}
inline FoldOptions knowing(Parameters const& parameters) {
  FoldOptions options;
  options.parameters = &parameters;
  return options;
}

inline std::size_t count_of(Graph const& graph, Operator op) {
  return static_cast<std::size_t>(std::ranges::count(graph.nodes(), op, &Node::op));
}

// How far the fold that `report` orders moves the outputs, relative to their size, on random inputs.
inline double fold_error(Graph const& graph, FoldReport const& report, Parameters const& parameters, Index tokens,
                         std::uint64_t seed) {
  FoldedModel const folded = fold_norms(graph, report, parameters);
  return certify(graph, parameters, folded, random_inputs(graph, tokens, seed + 1)).largest_difference();
}
inline double fold_error(Graph const& graph, FoldReport const& report, Index tokens = 4, std::uint64_t seed = 1) {
  return fold_error(graph, report, random_parameters(graph, tokens, seed), tokens, seed);
}

inline bool same_parameters(Parameters const& a, Parameters const& b) {
  if (a.size() != b.size()) return false;
  for (auto const& [name, value] : a) {
    if (!b.contains(name) || value.index() != b.at(name).index()) return false;
    if (a.as<double>(name).rows() != b.as<double>(name).rows() || a.as<double>(name) != b.as<double>(name))
      return false;
  }
  return true;
}

// What holds of gammas and betas that move (options.affine): no other verdict changes, no output does, the norms are
// bare, their parameters are gone, and a second fold does nothing.
inline void check_affine_moves(Graph const& graph, Parameters const& parameters, FoldOptions options, Index tokens,
                               std::uint64_t seed) {
  FoldReport const report = find_foldable_norms(graph, options);
  FoldOptions without = options;
  without.affine = false;
  FoldReport rest = report;
  rest.affines.clear();
  CHECK(find_foldable_norms(graph, without) == rest);
  CHECK(fold_error(graph, report, parameters, tokens, seed) <= fold_tolerance);

  FoldedModel const once = fold_norms(graph, report, parameters);
  for (AffineVerdict const& affine : report.affines) {
    CAPTURE(affine.name);
    Node const& norm = once.graph.node(once.graph.find_node(affine.name).value());
    CHECK((!norm.parameter(Key::gamma).present() && !norm.parameter(Key::beta).present()) == affine.moves());
  }
  for (auto const& [name, value] : once.parameters) {
    CAPTURE(name);
    CHECK((once.graph.find_parameter(name) || !graph.find_parameter(name)));
  }
  if (options.parameters) options.parameters = &once.parameters;
  FoldedModel const twice = fold_norms(once.graph, find_foldable_norms(once.graph, options), once.parameters);
  CHECK(twice.graph == once.graph);
  CHECK(same_parameters(twice.parameters, once.parameters));
}

// What somebody does who looks upstream only: center these parameters, replace every layer_norm. fold_norms decides
// nothing, so it carries out the mistake.
inline FoldReport naive_report(Graph const& graph, std::vector<std::string> const& centered) {
  FoldReport report;
  for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
    Node const& node = graph.nodes()[n];
    if (node.op == Operator::layer_norm) {
      report.norms.push_back({NodeId{static_cast<std::int32_t>(n)}, node.name, std::nullopt});
    }
  }
  for (std::string const& name : centered) {
    Index const rows = graph.parameter(graph.find_parameter(name).value()).rows;
    report.centerings.push_back({name, {{0, rows}}, rows});
  }
  return report;
}

}  // namespace foldnorm::testing
