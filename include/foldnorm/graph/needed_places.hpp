// SPDX-License-Identifier: MIT
// foldnorm/graph/needed_places.hpp -- the zero means that kept norms lack, down to the sources that are at fault.
#pragma once

#include <foldnorm/fold/interval.hpp>
#include <foldnorm/graph/fold_facts.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/needed_centerings.hpp>
#include <foldnorm/graph/rules.hpp>
#include <foldnorm/graph/segments.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace foldnorm::detail {

// Features of one value that some norm needs to sum to zero, and that do not.
struct NeededPlace {
  NodeId value;
  Interval part;
  bool operator==(NeededPlace const&) const = default;
};

// A norm needs a place for each of its groups, and a place rests on those of the inputs that it is copied from. Linear
// in places and reads.
class NeededPlaces {
 public:
  using Number = std::int32_t;
  struct Norm {
    NodeId node;
    std::vector<Number> places;
  };

  explicit NeededPlaces(FoldFacts const& facts) : facts_(facts) {
    Graph const& graph = facts.graph();
    for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
      Node const& node = graph.nodes()[n];
      NodeId const id{static_cast<std::int32_t>(n)};
      if (node.op != Operator::layer_norm || facts.is_left_alone(id)) continue;
      if (facts.folds(id)) {
        kept_.push_back(needed_by_norm(graph, id));
        continue;
      }
      norms_.push_back({id, {}});
      Index const length = node.features / groups_of(node);
      for (Index begin = 0; begin < node.features; begin += length) {
        find({node.inputs[0], {begin, begin + length}}, norms_.back().places);
      }
    }
    for (std::size_t p = 0; p < places_.size(); ++p) {
      is_at_fault_.push_back(!rests_on_inputs(places_[p]));
      rests_begin_.push_back(rests_.size());
    }
  }

  std::size_t size() const { return places_.size(); }
  NeededPlace const& operator[](std::size_t place) const { return places_[place]; }
  std::vector<Norm> const& norms() const { return norms_; }  // that do not fold, in the order of the graph
  std::span<Number const> rests_on(std::size_t place) const {
    return std::span(rests_).subspan(rests_begin_[place], rests_begin_[place + 1] - rests_begin_[place]);
  }
  // Whatever happens in front of it, it does not sum to zero.
  bool is_at_fault(std::size_t place) const { return is_at_fault_[place]; }
  // Zero means that norms and places have already, and must keep.
  std::vector<NeededZeroMean> const& kept() const { return kept_; }

 private:
  struct Hash {
    std::size_t operator()(NeededPlace const& place) const {
      auto hash = static_cast<std::uint64_t>(place.value.index);
      for (Index const bound : {place.part.begin, place.part.end}) {
        hash = (hash ^ static_cast<std::uint64_t>(bound)) * 0x9e3779b97f4a7c15U;
        hash ^= hash >> 32U;
      }
      return static_cast<std::size_t>(hash);
    }
  };

  // Notes the place's number, unless its features sum to zero already.
  void find(NeededPlace const& place, std::vector<Number>& numbers) {
    if (facts_.zero_mean(place.value).covers(place.part.begin, place.part.end)) {
      kept_.push_back({place.value, Segments::interval(place.part.begin, place.part.end)});
      return;
    }
    auto const [found, is_new] = numbers_.try_emplace(place, static_cast<Number>(places_.size()));
    if (is_new) places_.push_back(place);
    numbers.push_back(found->second);
  }

  // Does it come down to places of the node's inputs? Not where one of them holds but a part of it: a shift of that
  // part alone is nothing that a norm forgives whose value is read, so that nothing in front of the cut may be
  // centered.
  bool rests_on_inputs(NeededPlace const place) {
    Graph const& graph = facts_.graph();
    Node const& node = graph.node(place.value);
    auto const [begin, end] = place.part;
    if (facts_.flow_of(place.value) == Flow::adds_parameter) {
      bool const is_centered = facts_.produced(place.value).covers(begin, end);
      if (is_centered) find({node.inputs[0], place.part}, rests_);
      return is_centered;
    }
    if (facts_.flow_of(place.value) != Flow::rearranges) return false;
    Index before = 0;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      Pieces const copies = pieces(graph, node, i, before);
      before += graph.node(node.inputs[i]).features;
      if (copies.count == 0) continue;
      Piece const piece = copies[copies.y_step > 0 ? begin / copies.y_step : 0];
      if (begin >= piece.y_begin + piece.length || end <= piece.y_begin) continue;
      Interval const room = piece.around(std::max(begin, piece.y_begin));
      if (begin < room.begin || end > room.end) return false;
      Index const shift = piece.x_begin - piece.y_begin;
      find({node.inputs[i], {begin + shift, end + shift}}, rests_);
    }
    return true;
  }

  FoldFacts const& facts_;
  std::vector<NeededPlace> places_;
  std::unordered_map<NeededPlace, Number, Hash> numbers_;
  std::vector<Number> rests_;                // what each place rests on, one after the other
  std::vector<std::size_t> rests_begin_{0};  // by place; one past the last at the end
  std::vector<bool> is_at_fault_;
  std::vector<Norm> norms_;
  std::vector<NeededZeroMean> kept_;
};

}  // namespace foldnorm::detail
