// SPDX-License-Identifier: MIT
// foldnorm/graph/estimate_gain.hpp -- what a fold should bring, before it is carried out: the share of a forward pass
// that norms take, the ceiling that this sets, and what the report at hand saves and adds.
//
// A sum over the nodes of what each costs by a table (operation_costs.hpp), one after the other: right for an
// interpreter that runs node by node, too high where a runtime fuses norms with their neighbours.
#pragma once

#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/operation_costs.hpp>
#include <foldnorm/graph/token_counts.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <ostream>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

struct GainEstimate {
  double forward_seconds = 0;  // of the original
  double norm_seconds = 0;     // of its layer_norms and rms_norms
  double ceiling_seconds = 0;  // saved if every layer_norm were an rms_norm (bare, where the report moves affine parts)
  double saved_seconds = 0;    // by this report: norms folded, gammas and betas moved, scales composed
  double added_seconds = 0;    // by this report: centerings inserted, heads corrected
  std::size_t norms = 0, folds = 0, insertions = 0;

  double share() const { return part(norm_seconds); }
  double ceiling() const { return part(ceiling_seconds); }
  double gain() const { return part(saved_seconds - added_seconds); }
  bool pays() const { return saved_seconds > added_seconds; }

 private:
  double part(double seconds) const { return forward_seconds > 0 ? seconds / forward_seconds : 0; }
};

namespace detail {

class NodeCosts {
 public:
  NodeCosts(Graph const& graph, Index tokens, OperationCosts const& costs)
      : graph_(graph), tokens_(token_counts(graph, tokens)), costs_(costs) {}

  // 0 of what only names a value that exists.
  double seconds(NodeId id) const {
    double const operation = operation_seconds(id);
    return operation > 0 ? operation + costs_.seconds_per_node : 0;
  }

  double norm(NodeId id, bool centers, bool bare) const {
    Node const& node = graph_.node(id);
    double const groups = count(node.count(Key::groups));
    CostKind const kind = centers ? (bare ? CostKind::bare_layer_norm : CostKind::layer_norm)
                                  : (bare ? CostKind::bare_rms_norm : CostKind::rms_norm);
    return values(kind, count(node.features) / groups, tokens_of(id) * groups);
  }
  double centering(NodeId id) const {
    return values(CostKind::center, count(graph_.node(id).features), tokens_of(id)) + costs_.seconds_per_node;
  }
  // What a corrected head computes beside its product: the sum of its input, that times a number a word, and a sum.
  double correction(NodeId head) const {
    double const words = count(graph_.node(head).features), tokens = tokens_of(head);
    return product(1, count(graph_.node(graph_.node(head).inputs[0]).features), tokens) + product(words, 1, tokens) +
           values(CostKind::pass, words, tokens) + 3 * costs_.seconds_per_node;
  }

  static bool is_bare(Node const& norm) {
    return !norm.parameter(Key::gamma).present() && !norm.parameter(Key::beta).present();
  }

 private:
  double operation_seconds(NodeId id) const {
    Node const& node = graph_.node(id);
    double const features = count(node.features), tokens = tokens_of(id);
    switch (node.op) {
      case Operator::input:
      case Operator::ids:
      case Operator::identity:
      case Operator::dropout:
      case Operator::drop_path:
      case Operator::output:
        return 0;
      case Operator::linear:
        return product(features, count(graph_.node(node.inputs[0]).features), tokens) + bias(node, tokens);
      case Operator::conv: {
        double const taps =
            count(node.count(Key::kernel) * (graph_.node(node.inputs[0]).features / node.count(Key::groups)));
        if (node.count(Key::groups) == 1) return product(features, taps, tokens) + bias(node, tokens);
        return taps * values(CostKind::pass, features, tokens) + bias(node, tokens);
      }
      case Operator::attention:
        return attention(node, tokens);
      case Operator::layer_norm:
      case Operator::rms_norm:
        return norm(id, node.op == Operator::layer_norm, is_bare(node));
      case Operator::center:
        return values(CostKind::center, features, tokens);
      case Operator::gelu:
      case Operator::silu:
      case Operator::tanh:
      case Operator::sigmoid:
      case Operator::softmax:
        return values(CostKind::smooth, features, tokens);
      case Operator::add:
      case Operator::multiply:
        return count(static_cast<Index>(node.inputs.size()) - 1) * values(CostKind::pass, features, tokens);
      default:
        return values(CostKind::pass, features, tokens);
    }
  }

  static double count(Index n) { return static_cast<double>(n); }
  double tokens_of(NodeId id) const { return count(tokens_[static_cast<std::size_t>(id.index)]); }

  double values(CostKind kind, double features, double tokens) const {
    return features * tokens * costs_.seconds_per_value(kind, features, tokens);
  }
  // A weight out x in costs what a square one with as many numbers does.
  double product(double out, double in, double tokens) const {
    return out * in * tokens * costs_.seconds_per_value(CostKind::product, std::sqrt(out * in), tokens);
  }
  double bias(Node const& node, double tokens) const {
    return node.parameter(Key::bias).present() ? values(CostKind::pass, count(node.features), tokens) : 0;
  }
  double attention(Node const& node, double queries) const {
    double const heads = count(node.count(Key::heads)), keys = tokens_of(node.inputs[1]);
    double const length = count(graph_.node(node.inputs[0]).features) / heads;
    double const value_length = count(node.features) / heads;
    return heads * (product(keys, length, queries) + values(CostKind::smooth, keys, queries) +
                    product(value_length, keys, queries));
  }

  Graph const& graph_;
  std::vector<Index> tokens_;  // by node
  OperationCosts const& costs_;
};

}  // namespace detail

// With `tokens` tokens at every input, as token_counts has it: throws graph_error where operands do not fit, and at an
// opaque node, whose cost nobody knows. Precondition: the report is one of this graph. Linear in the graph.
inline GainEstimate estimate_gain(Graph const& graph, FoldReport const& report, Index tokens,
                                  OperationCosts const& costs) {
  detail::NodeCosts const node_costs(graph, tokens, costs);
  GainEstimate estimate;
  estimate.norms = report.norms.size();
  estimate.folds = report.folds();

  std::vector<char> folds(graph.nodes().size()), moves(graph.nodes().size());
  for (Verdict const& norm : report.norms) folds[static_cast<std::size_t>(norm.norm.index)] = norm.folds();
  for (AffineVerdict const& affine : report.affines) {
    moves[static_cast<std::size_t>(affine.norm.index)] = affine.moves();
  }
  for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
    NodeId const id{static_cast<std::int32_t>(n)};
    Node const& node = graph.node(id);
    double const seconds = node_costs.seconds(id);
    estimate.forward_seconds += seconds;
    bool const centers = node.op == Operator::layer_norm;
    if (!centers && node.op != Operator::rms_norm) continue;
    estimate.norm_seconds += seconds;
    bool const bare = detail::NodeCosts::is_bare(node);
    double const norm = node_costs.norm(id, centers, bare);
    estimate.saved_seconds += norm - node_costs.norm(id, centers && !folds[n], bare || moves[n]);
    if (centers) estimate.ceiling_seconds += norm - node_costs.norm(id, false, bare || !report.affines.empty());
  }
  if (report.placement) {
    for (InsertionSet const& set : report.placement->sets) {
      for (Insertion const& insertion : set.insertions) {
        estimate.added_seconds += node_costs.centering(insertion.node);
        ++estimate.insertions;
      }
    }
  }
  for (CorrectedHead const& head : report.corrected) estimate.added_seconds += node_costs.correction(head.head);
  for (Composition const& pair : report.compositions) estimate.saved_seconds += node_costs.seconds(pair.scale);
  return estimate;
}

// In words, for a person: shares, ceiling, what this fold saves and adds, and plainly whether it pays.
inline std::ostream& operator<<(std::ostream& out, GainEstimate const& estimate) {
  auto const percent = [](double part) { return std::round(part * 1e4) / 100; };
  auto const microseconds = [](double seconds) { return std::round(seconds * 1e7) / 10; };
  out << "forward    " << microseconds(estimate.forward_seconds) << " us, norms take " << percent(estimate.share())
      << " %\n"
      << "ceiling    " << percent(estimate.ceiling()) << " %, if every layer_norm were an rms_norm\n"
      << "this fold  " << percent(estimate.gain()) << " %: " << estimate.folds << " of " << estimate.norms
      << " norms fold; saves " << microseconds(estimate.saved_seconds) << " us, adds "
      << microseconds(estimate.added_seconds) << " us (" << estimate.insertions << " centerings inserted)\n";
  if (!estimate.pays()) {
    out << "It does not pay: " << (estimate.folds == 0 ? "no norm folds" : "it adds what it saves") << ".\n";
  } else if (estimate.gain() < 0.01) {
    out << "It hardly pays: less than 1 % is below what most machines can measure.\n";
  }
  return out;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
