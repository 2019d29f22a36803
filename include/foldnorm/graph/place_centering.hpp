// SPDX-License-Identifier: MIT
// foldnorm/graph/place_centering.hpp -- behind which nodes an explicit center pays, and which norms fold by it.
//
// A norm that does not fold lacks zero means; each rests on others, and in the end on sources that are at fault. A
// center behind a node settles what that node's value lacks. The best set of centers is one minimum cut:
//
//   start -- what it brings --> norm --> what it lacks --> what that rests on --> ... --> sources at fault --> end
//                                        |
//                                        where a center is exact: by way of an arc of what that costs
//
// Derived, with its proof, in docs/folding.md.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/fold/interval.hpp>
#include <foldnorm/graph/fold_facts.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/minimum_cut.hpp>
#include <foldnorm/graph/needed_centerings.hpp>
#include <foldnorm/graph/needed_places.hpp>
#include <foldnorm/graph/placement_costs.hpp>
#include <foldnorm/graph/segments.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

namespace foldnorm::detail {

class CenteringPlacement {
 public:
  CenteringPlacement(FoldFacts const& facts, PlacementCosts const& costs)
      : graph_(facts.graph()), places_(facts), cost_(places_.size(), not_offered) {
    find_costs(facts, costs);
    for (NeededPlaces::Norm const& norm : places_.norms()) {
      profit_.push_back(checked_cost(costs.norm, graph_, norm.node, "norm"));
    }
    if (!std::isfinite(std::accumulate(profit_.begin(), profit_.end(), 0.0))) {
      detail::raise<std::invalid_argument>("find_foldable_norms: insert_centering: the norms' sum is not finite");
    }
    cut();
    join_norms();
  }

  Placement placement() const {
    std::map<std::size_t, InsertionSet> sets;  // by their first norm
    for (std::size_t k = 0; k < profit_.size(); ++k) {
      NodeId const norm = places_.norms()[k].node;
      if (is_freed(k)) sets[joined_[k]].norms.push_back({norm, graph_.node(norm).name, profit_[k]});
    }
    for (std::size_t p = 0; p < places_.size(); ++p) {
      NodeId const node = places_[p].value;
      // (Sums of costs that are rounded can cut a place that no freed norm rests on.)
      bool const serves = is_cut(p) && reached_by_[p] != nobody;
      if (serves) sets[joined_[reached_by_[p]]].insertions.push_back({node, graph_.node(node).name, cost_[p]});
    }
    Placement result;
    for (auto& [first, set] : sets) {
      std::ranges::sort(set.insertions, {}, &Insertion::node);
      result.sets.push_back(std::move(set));
    }
    return result;
  }

 private:
  using Vertex = MinimumCut::Vertex;
  static constexpr double not_offered = -1;
  static constexpr std::size_t nobody = static_cast<std::size_t>(-1);
  static constexpr Vertex start = 0, end = 1;

  // A place has two vertices, what it costs to settle it lies between; where it cannot be settled, they are one.
  Vertex norm_vertex(std::size_t norm) const { return static_cast<Vertex>(2 + norm); }
  Vertex entry(std::size_t place) const { return static_cast<Vertex>(2 + profit_.size() + 2 * place); }
  Vertex exit(std::size_t place) const { return entry(place) + (cost_[place] == not_offered ? 0 : 1); }

  bool is_freed(std::size_t norm) const { return !on_end_side_[static_cast<std::size_t>(norm_vertex(norm))]; }
  bool is_cut(std::size_t place) const {
    return !on_end_side_[static_cast<std::size_t>(entry(place))] && on_end_side_[static_cast<std::size_t>(exit(place))];
  }

  // A center behind a node is exact where its value tolerates a shift of the whole axis. Where it tolerates others,
  // too, all that reads it reads parts, and a center of the whole axis helps nobody; where parts of it sum to zero and
  // a norm rests on that, the center would spoil it.
  void find_costs(FoldFacts const& facts, PlacementCosts const& costs) {
    NeededCenterings const kept(facts, places_.kept());
    for (std::size_t p = 0; p < places_.size(); ++p) {
      auto const& [value, part] = places_[p];
      Index const features = graph_.node(value).features;
      bool const is_whole = part == Interval{0, features};
      if (is_whole && facts.tolerated(value) == Segments::whole(features) &&
          kept.by_node[static_cast<std::size_t>(value.index)].empty()) {
        cost_[p] = checked_cost(costs.insertion, graph_, value, "insertion");
      }
    }
  }

  void cut() {
    MinimumCut cheapest(2 + profit_.size() + 2 * places_.size());
    for (std::size_t k = 0; k < profit_.size(); ++k) {
      cheapest.add_arc(start, norm_vertex(k), {profit_[k], 0});
      for (auto const place : places_.norms()[k].places) {
        cheapest.add_arc(norm_vertex(k), entry(static_cast<std::size_t>(place)), CutCost::infinite());
      }
    }
    for (std::size_t p = 0; p < places_.size(); ++p) {
      if (cost_[p] != not_offered) cheapest.add_arc(entry(p), exit(p), {cost_[p], 1});
      if (places_.is_at_fault(p)) cheapest.add_arc(exit(p), end, CutCost::infinite());
      for (auto const place : places_.rests_on(p)) {
        cheapest.add_arc(exit(p), entry(static_cast<std::size_t>(place)), CutCost::infinite());
      }
    }
    on_end_side_ = cheapest.sink_side(start, end);
  }

  // Freed norms that rest on a common place belong together.
  void join_norms() {
    reached_by_.assign(places_.size(), nobody);
    joined_.resize(profit_.size());
    std::iota(joined_.begin(), joined_.end(), std::size_t{0});
    std::vector<NeededPlaces::Number> left;
    for (std::size_t k = 0; k < joined_.size(); ++k) {
      if (!is_freed(k)) continue;
      left = places_.norms()[k].places;
      while (!left.empty()) {
        auto const p = static_cast<std::size_t>(left.back());
        left.pop_back();
        if (reached_by_[p] != nobody) {
          std::size_t const a = root(k), b = root(reached_by_[p]);
          joined_[std::max(a, b)] = std::min(a, b);
          continue;
        }
        reached_by_[p] = k;
        if (is_cut(p)) continue;
        auto const next = places_.rests_on(p);
        left.insert(left.end(), next.begin(), next.end());
      }
    }
    for (std::size_t& norm : joined_) norm = joined_[norm];
  }
  std::size_t root(std::size_t norm) {
    while (joined_[norm] != norm) norm = joined_[norm] = joined_[joined_[norm]];
    return norm;
  }

  Graph const& graph_;
  NeededPlaces places_;
  std::vector<double> cost_;    // by place: of a center there
  std::vector<double> profit_;  // by norm that does not fold
  std::vector<bool> on_end_side_;
  std::vector<std::size_t> reached_by_;  // by place: the first freed norm that rests on it
  std::vector<std::size_t> joined_;      // by norm: the first of its set
};

// The centers to insert, none of which is worth more than it costs left out. Pure; what is inserted tolerates a shift
// in the ORIGINAL graph, so that all sets may be inserted at once. Throws std::invalid_argument for a cost that is
// negative or not finite.
inline Placement place_centering(FoldFacts const& facts, PlacementCosts const& costs) {
  return CenteringPlacement(facts, costs).placement();
}

}  // namespace foldnorm::detail
