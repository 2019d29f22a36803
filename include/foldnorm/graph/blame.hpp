// SPDX-License-Identifier: MIT
// foldnorm/graph/blame.hpp -- why a norm stays: the reason and the node that it is about.
//
// Walks back from the norm through the operators whose zero mean failed, always to the first operand at fault, and
// stops at the first source that is at fault itself. If that is a producer whose own readers would see the shift, walks
// on forward to the reader that does. Every (value, interval) is walked once: all norms together cost one pass over the
// graph. Reasons: docs/folding.md.
#pragma once

#include <foldnorm/graph/fold_facts.hpp>
#include <foldnorm/graph/fold_report.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace foldnorm::detail {

class Blame {
 public:
  explicit Blame(FoldFacts const& facts) : facts_(facts), graph_(facts.graph()) {}

  // Precondition (ours): the norm does not fold.
  Refusal of_norm(NodeId norm) {
    Node const& node = graph_.node(norm);
    Index const length = node.features / groups_of(node);
    for (Index begin = 0; begin < node.features; begin += length) {
      Interval const group{begin, begin + length};
      if (!has_zero_mean(node.inputs[0], group)) return source_at_fault({node.inputs[0], group});
    }
    assert(false && "the norm folds");
    return refusal(Reason::unknown, norm);
  }

 private:
  // Features of one value, all of which one norm needs to sum to zero together.
  struct Place {
    NodeId value;
    Interval part;
    auto operator<=>(Place const&) const = default;
  };
  // Where a walk goes on, or what it ends with.
  struct Step {
    std::optional<Place> next;
    Refusal end;
  };

  bool has_zero_mean(NodeId value, Interval part) const { return facts_.zero_mean(value).covers(part.begin, part.end); }

  Refusal refusal(Reason reason, NodeId blame) const { return {reason, blame, graph_.node(blame).name}; }
  Step end(Reason reason, NodeId blame) const { return {std::nullopt, refusal(reason, blame)}; }

  template <class NextStep>
  static Refusal walk(Place place, std::map<Place, Refusal>& known, NextStep next_step) {
    std::vector<Place> path;
    for (;;) {
      auto const found = known.find(place);
      Step step = found == known.end() ? next_step(place) : Step{std::nullopt, found->second};
      path.push_back(place);
      if (step.next) {
        place = *step.next;
        continue;
      }
      for (Place const& passed : path) known.insert_or_assign(passed, step.end);
      return step.end;
    }
  }

  Refusal source_at_fault(Place place) {
    return walk(place, sources_, [this](Place const& at) { return backward(at); });
  }
  Refusal reader_at_fault(Place place) {
    return walk(place, readers_, [this](Place const& at) { return forward(at); });
  }

  // Why the value does not sum to zero there.
  Step backward(Place place) {
    NodeId const id = place.value;
    Node const& node = graph_.node(id);
    switch (facts_.flow_of(id)) {
      case Flow::unknown:
        return end(node.op == Operator::opaque ? Reason::unknown : Reason::input, id);
      case Flow::elementwise:
        return end(node.op == Operator::dropout ? Reason::dropout : Reason::nonlinear, id);
      case Flow::scales:
        if (NodeId const linear = facts_.partner(id); linear.index >= 0) return producer(linear, place.part);
        return end(Reason::scale, id);
      case Flow::centers: {
        bool const affine = node.op == Operator::layer_norm &&
                            (node.parameter(Key::gamma).present() || node.parameter(Key::beta).present());
        return end(affine ? Reason::norm_affine : Reason::nonlinear, id);
      }
      case Flow::rescales:
        return end(Reason::nonlinear, id);
      case Flow::adds_parameter:
        if (!has_zero_mean(node.inputs[0], place.part)) return {Place{node.inputs[0], place.part}, {}};
        return producer(id, place.part);
      case Flow::produces:
        return producer(id, place.part);
      case Flow::rearranges:
        break;
    }
    Index before = 0;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      Pieces const copies = pieces(graph_, node, i, before);
      before += graph_.node(node.inputs[i]).features;
      for (Piece const& piece : copies.meeting(place.part.begin, place.part.end)) {
        Index const begin = std::max(place.part.begin, piece.y_begin);
        Index const end_ = std::min(place.part.end, piece.y_begin + piece.length);
        if (begin >= end_) continue;
        bool const cut = end_ > piece.around(begin).end;
        if (node.op == Operator::attention && cut)
          return end(Reason::nonlinear, id);  // several heads, several mixtures
        Index const shift = piece.x_begin - piece.y_begin;
        Interval const part{begin + shift, end_ + shift};
        if (!has_zero_mean(node.inputs[i], part)) return {Place{node.inputs[i], part}, {}};
      }
    }
    assert(false && "a value whose operands all sum to zero does so as well");
    return end(Reason::unknown, id);
  }

  // Why a producer's parameters are not centered on `part`.
  Step producer(NodeId id, Interval part) {
    Node const& node = graph_.node(id);
    NodeId const site = facts_.site(id);
    Index const group = node.features / groups_of(node);
    if (part.begin / group != (part.end - 1) / group) return end(Reason::grouped, id);
    if (!facts_.tolerated(site).covers(part.begin, part.end)) {
      return {std::nullopt, reader_at_fault({site, part})};
    }
    return end(Reason::tied, other_use_at_fault(id, part));
  }

  // The first use of the producer's parameters, or of those that must be centered with them, that does not allow it.
  NodeId other_use_at_fault(NodeId id, Interval part) {
    Node const& node = graph_.node(id);
    if (facts_.is_head(node)) {  // of a table, which is used as one somewhere
      auto const& uses = graph_.parameter(node.parameter(Key::weight)).uses;
      return std::ranges::find(uses, Key::table, &ParameterUse::role)->node;
    }
    ParameterId const name = facts_.class_of(facts_.producing_parameters(id)[0]);
    auto const [found, is_new] = class_blame_.try_emplace({name, part}, id);
    if (is_new) found->second = first_forbidding_use(name, part).value_or(id);
    return found->second;
  }
  std::optional<NodeId> first_forbidding_use(ParameterId name, Interval part) {
    if (members_.empty()) {
      members_.resize(graph_.parameters().size());
      for (std::size_t p = 0; p < members_.size(); ++p) {
        ParameterId const id{static_cast<std::int32_t>(p)};
        members_[static_cast<std::size_t>(facts_.class_of(id).index)].push_back(id);
      }
    }
    for (ParameterId const member : members_[static_cast<std::size_t>(name.index)]) {
      for (ParameterUse const& use : graph_.parameter(member).uses) {
        if (!facts_.allowed(use).covers(part.begin, part.end)) return use.node;
      }
    }
    return std::nullopt;
  }

  // Who would see a shift of these features.
  Step forward(Place place) {
    auto const uses = facts_.readers().of(place.value);
    if (uses.empty()) return end(Reason::output, place.value);
    std::vector<Segments>& tolerated = pulled_[place.value];
    for (std::size_t k = 0; k < uses.size(); ++k) {
      Reader const& use = uses[k];
      if (tolerated.size() == k) tolerated.push_back(facts_.pulled(use));
      if (tolerated[k].covers(place.part.begin, place.part.end)) continue;
      Node const& node = graph_.node(use.node);
      if (node.op == Operator::output) return end(Reason::output, use.node);
      Flow const flow = facts_.flow_of(use.node);
      if (flow == Flow::adds_parameter) return {Place{use.node, place.part}, {}};
      if (flow != Flow::rearranges) return end(Reason::read_unforgiven, use.node);
      return through(use, place.part);
    }
    assert(false && "a value whose readers all forgive a shift tolerates it");
    return end(Reason::unknown, place.value);
  }

  // Where a shift shows behind a rearranging reader: further on, or at its own cut.
  Step through(Reader const& use, Interval part) const {
    Node const& node = graph_.node(use.node);
    Segments const& tolerated = facts_.tolerated(use.node);
    Step found = end(Reason::read_unforgiven, use.node);  // queries and keys; a part that no single head holds
    pieces(graph_, node, use.operand, use.before).visit_while(tolerated, [&](Piece const& piece) {
      Index const begin = std::max(part.begin, piece.x_begin);
      Index const end_ = std::min(part.end, piece.x_begin + piece.length);
      if (begin >= end_) return true;
      Index const shift = piece.y_begin - piece.x_begin;
      if (tolerated.covers(begin + shift, end_ + shift)) return true;
      Interval const room = piece.around(begin + shift);
      bool const is_cut = tolerated.crosses(begin + shift, end_ + shift, room.begin, room.end);
      if (!is_cut)
        found = {Place{use.node, {begin + shift, end_ + shift}}, {}};
      else if (node.op != Operator::attention)
        found = end(Reason::feature_mix, use.node);
      return false;
    });
    return found;
  }

  FoldFacts const& facts_;
  Graph const& graph_;
  std::map<Place, Refusal> sources_;
  std::map<Place, Refusal> readers_;
  std::map<std::pair<ParameterId, Interval>, NodeId> class_blame_;
  std::map<NodeId, std::vector<Segments>> pulled_;  // of a value's first readers: what each tolerates
  std::vector<std::vector<ParameterId>> members_;   // by class
};

}  // namespace foldnorm::detail
