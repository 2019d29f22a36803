// SPDX-License-Identifier: MIT
// foldnorm/graph/fold_facts.hpp -- the analysis behind find_foldable_norms: which shifts are forgiven, which parameters
// can therefore be centered, and which values then have zero mean.
//
//   1 backward, on the ORIGINAL graph:  TOL(x) = MEET over all readers of pull(reader, TOL(its value))
//   2 every class of parameters that must be centered together:  S = MEET over all its uses of what the use tolerates
//   3 forward, on the graph with those centered:  Z(y) = push(Z of the inputs)
//
// The two facts live in different graphs. Asking who forgives after some layer_norms have become rms_norms would be
// wrong, and depend on the order. Each pass visits each node once. Foldable LayerNorm (arXiv:2605.14521); the passes
// and their proof are derived in docs/folding.md.
#pragma once

#include <foldnorm/graph/fold_options.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/known_values.hpp>
#include <foldnorm/graph/neutral_affine.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/graph/readers.hpp>
#include <foldnorm/graph/rules.hpp>
#include <foldnorm/graph/segments.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

class FoldFacts {
 public:
  FoldFacts(Graph const& graph, FoldOptions const& options)
      : graph_(graph),
        options_(options),
        values_(options.mode == FoldMode::training ? KnownValues(graph, nullptr)
                                                   : KnownValues(graph, options.parameters, options.is_centered)),
        readers_(graph),
        flow_(graph.nodes().size()),
        partner_(graph.nodes().size()),
        tolerated_(graph.nodes().size()),
        class_of_(graph.parameters().size()),
        chosen_(graph.parameters().size()),
        is_inserted_(graph.nodes().size(), false),
        zero_mean_(graph.nodes().size()) {
    for (std::size_t n = 0; n < flow_.size(); ++n) flow_[n] = flow(graph.nodes()[n]);
    find_compositions();
    find_tolerated();
    join_classes();
    choose_centerings();
    find_zero_means();
  }

  // What holds once these centers are there. Where a value tolerates a shift of the whole axis and no other, it does so
  // in front of a center as well: only the zero means change.
  void insert_centering(Placement const& placement) {
    for (InsertionSet const& set : placement.sets) {
      for (Insertion const& insertion : set.insertions) is_inserted_[at(insertion.node)] = true;
    }
    if (!placement.sets.empty()) find_zero_means();
  }

  Graph const& graph() const { return graph_; }
  Readers const& readers() const { return readers_; }
  Flow flow_of(NodeId node) const { return flow_[at(node)]; }
  Segments const& tolerated(NodeId value) const { return tolerated_[at(value)]; }
  Segments const& zero_mean(NodeId value) const { return zero_mean_[at(value)]; }  // as its readers read it
  bool is_inserted(NodeId node) const { return is_inserted_[at(node)]; }
  Segments pulled(Reader const& use) const { return pull(graph_, use, flow_of(use.node), tolerated(use.node)); }

  bool is_left_alone(NodeId norm) const { return options_.leave_alone.contains(norm); }

  bool folds(NodeId norm) const { return !is_left_alone(norm) && can_fold(norm); }
  // Do the intervals of a norm's input cover each of its groups exactly?
  bool can_fold(NodeId norm) const {
    Node const& node = graph_.node(norm);
    Index const length = node.features / groups_of(node);
    for (Index begin = 0; begin < node.features; begin += length) {
      if (!zero_mean(node.inputs[0]).covers(begin, begin + length)) return false;
    }
    return true;
  }

  // Of a linear or conv: the scale behind it that becomes part of it, and the other way; else no node (index -1).
  NodeId partner(NodeId node) const { return partner_[at(node)]; }

  // The parameters that center what a producer makes; empty for a tied head, whose weight is another node's table.
  std::vector<ParameterId> producing_parameters(NodeId producer) const {
    Node const& node = graph_.node(producer);
    std::vector<ParameterId> result;
    if (is_head(node)) return result;
    for (ParameterId const parameter : node.parameters) {
      if (parameter.present()) result.push_back(parameter);
    }
    return result;
  }
  bool is_head(Node const& node) const {
    return node.op == Operator::linear && graph_.parameter(node.parameter(Key::weight)).is_table;
  }

  // A class is a set of parameters that are centered alike, named by its smallest member.
  ParameterId class_of(ParameterId parameter) const { return class_of_[at(parameter)]; }
  Segments const& chosen(ParameterId parameter) const { return chosen_[at(class_of(parameter))]; }

  // The intervals on which this use would let its parameter be centered.
  Segments allowed(ParameterUse const& use) const {
    Node const& node = graph_.node(use.node);
    Index const rows = node.features;
    switch (use.role) {
      case Key::table:
        return tolerated(use.node);
      case Key::weight:
      case Key::bias:
        if (is_head(node)) {
          bool const compensated = use.role == Key::weight && options_.tied != TiedTables::refuse;
          return compensated ? Segments::each(0, graph_.node(node.inputs[0]).features) : Segments::none();
        }
        return tolerated(site(use.node)).inside_blocks(rows / groups_of(node));
      case Key::value:
      case Key::scale:
      case Key::shift:
        if (node.op == Operator::add_parameter || partner(use.node).index >= 0) return tolerated(use.node);
        return Segments::none();
      default:
        return Segments::none();  // gamma and beta
    }
  }

  // The value that a producer's centering shows up in: behind the scale, if one is composed into it.
  NodeId site(NodeId producer) const { return partner(producer).index >= 0 ? partner(producer) : producer; }

  // What a producer makes zero-mean by its own parameters.
  Segments produced(NodeId id) const {
    auto const parameters = producing_parameters(id);
    if (parameters.empty() || site(id) != id) return Segments::none();
    Segments const& centered = chosen(parameters[0]);
    Index const groups = groups_of(graph_.node(id));
    // Across groups a column's entries meet different inputs, so that their sum says nothing. (Sharing can make a
    // parameter centered there all the same, where nobody reads what this node makes.)
    if (groups > 1) return centered.inside_blocks(graph_.node(id).features / groups);
    bool const already = centered.empty() && values_.are_centered(parameters);
    return already ? Segments::whole(graph_.node(id).features) : centered;
  }

 private:
  static std::size_t at(NodeId id) { return static_cast<std::size_t>(id.index); }
  static std::size_t at(ParameterId id) { return static_cast<std::size_t>(id.index); }

  Flow flow(Node const& node) const {
    if (node.op == Operator::scale_channels && values_.is_uniform(node.parameter(Key::value), 0, node.features)) {
      return Flow::rearranges;  // a common factor after all
    }
    if (node.op == Operator::dropout && node.number(Key::p) == 0) return Flow::rearranges;  // in training, too
    return detail::flow_of(node.op, options_.mode == FoldMode::training);
  }

  // Linear -> per-channel scale: W' = P diag(s) W, b' = P (s .* b + t), where nobody else reads what is in between and
  // nobody else uses the parameters. Not in training, where s and W move apart.
  void find_compositions() {
    if (options_.mode == FoldMode::training) return;
    auto const unshared = [&](Node const& node) {
      for (ParameterId const parameter : node.parameters) {
        if (parameter.present() && graph_.parameter(parameter).uses.size() > 1) return false;
      }
      return true;
    };
    for (std::size_t n = 0; n < flow_.size(); ++n) {
      Node const& node = graph_.nodes()[n];
      NodeId const id{static_cast<std::int32_t>(n)};
      if (node.op != Operator::linear && !(node.op == Operator::conv && node.count(Key::groups) == 1)) continue;
      auto const uses = readers_.of(id);
      if (uses.size() != 1) continue;
      Node const& next = graph_.node(uses[0].node);
      if (flow_of(uses[0].node) == Flow::scales && unshared(node) && unshared(next)) {
        partner_[n] = uses[0].node;
        partner_[at(uses[0].node)] = id;
      }
    }
  }

  void find_tolerated() {
    for (std::size_t n = tolerated_.size(); n-- > 0;) {
      auto const uses = readers_.of(NodeId{static_cast<std::int32_t>(n)});
      if (uses.empty()) continue;  // an output, or a value that nobody reads: observed, so nothing is tolerated
      std::vector<Segments> lists;
      for (Reader const& use : uses) lists.push_back(pulled(use));
      tolerated_[n] = meet_all(lists);
    }
  }

  // Weight and bias of one layer are centered together or not at all, and so is what is composed with them. Sharing can
  // link layers, so classes are joined (union by smallest member, with path halving).
  void join_classes() {
    for (std::size_t p = 0; p < class_of_.size(); ++p) class_of_[p] = ParameterId{static_cast<std::int32_t>(p)};
    for (std::size_t n = 0; n < flow_.size(); ++n) {
      Node const& node = graph_.nodes()[n];
      if (detail::flow_of(node.op, false) != Flow::produces || is_head(node)) continue;
      ParameterId const first = node.parameters[0];
      join(first, node.parameters[1]);
      if (partner_[n].index < 0) continue;
      for (ParameterId const parameter : graph_.node(partner_[n]).parameters) join(first, parameter);
    }
    for (std::size_t p = 0; p < class_of_.size(); ++p) class_of_[p] = root(ParameterId{static_cast<std::int32_t>(p)});
  }
  ParameterId root(ParameterId parameter) {
    while (class_of_[at(parameter)] != parameter) {
      class_of_[at(parameter)] = class_of_[at(class_of_[at(parameter)])];
      parameter = class_of_[at(parameter)];
    }
    return parameter;
  }
  void join(ParameterId a, ParameterId b) {
    if (!b.present()) return;
    ParameterId const first = std::min(root(a), root(b));
    ParameterId const second = std::max(root(a), root(b));
    class_of_[at(second)] = first;
  }

  void choose_centerings() {
    std::vector<bool> seen(chosen_.size(), false);
    for (std::size_t p = 0; p < chosen_.size(); ++p) {
      std::size_t const r = at(class_of_[p]);
      for (ParameterUse const& use : graph_.parameters()[p].uses) {
        chosen_[r] = seen[r] ? meet(chosen_[r], allowed(use)) : allowed(use);
        seen[r] = true;
      }
    }
  }

  void find_zero_means() {
    for (std::size_t n = 0; n < zero_mean_.size(); ++n) {
      NodeId const id{static_cast<std::int32_t>(n)};
      zero_mean_[n] = is_inserted(id) ? Segments::whole(graph_.node(id).features) : push(id);
    }
  }

  Segments push(NodeId id) const {
    Node const& node = graph_.node(id);
    if (flow_of(id) == Flow::scales && partner(id).index >= 0) {
      return chosen(graph_.node(partner(id)).parameter(Key::weight));
    }
    switch (flow_of(id)) {
      case Flow::produces:
        return produced(id);
      case Flow::adds_parameter:
        return meet(zero_mean(node.inputs[0]), produced(id));
      case Flow::rearranges:
        return push_rearranged(graph_, node, zero_mean_);
      case Flow::centers:
        if (node.op == Operator::softmax) return Segments::none();
        if (node.op == Operator::center) return Segments::whole(node.features);
        return neutral_affine(values_, node, normalized_groups(id));
      case Flow::rescales:
        return neutral_affine(values_, node, zero_mean(node.inputs[0]).inside_blocks(node.features / groups_of(node)));
      default:
        return Segments::none();
    }
  }
  // What a layer_norm's values sum to zero on before gamma and beta: each group. One that folds keeps the finer
  // intervals of its input, too, as the rms_norm does that it becomes; all that they rest on is centered for its own
  // sake.
  Segments normalized_groups(NodeId id) const {
    Node const& node = graph_.node(id);
    Index const groups = groups_of(node);
    return folds(id) ? zero_mean(node.inputs[0]).inside_blocks(node.features / groups)
                     : Segments::blocks(node.features, groups);
  }

  Graph const& graph_;
  FoldOptions options_;
  KnownValues values_;
  Readers readers_;
  std::vector<Flow> flow_;             // by node
  std::vector<NodeId> partner_;        // by node
  std::vector<Segments> tolerated_;    // by node
  std::vector<ParameterId> class_of_;  // by parameter
  std::vector<Segments> chosen_;       // by class
  std::vector<bool> is_inserted_;      // by node: is a center behind it?
  std::vector<Segments> zero_mean_;    // by node
};

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
