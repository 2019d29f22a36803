// SPDX-License-Identifier: MIT
// foldnorm/graph/minimum_cut.hpp -- the cheapest set of arcs that parts a source from a sink.
//
// Preflow push, highest label first, with exact labels from time to time (Goldberg and Tarjan, "A new approach to the
// maximum-flow problem", 1988; Cherkassky and Goldberg, 1997, for the labels). Only what can still reach the sink is
// worked on: that gives the cut, and the flow itself is nobody's business here.
#pragma once

#include <foldnorm/core/config.hpp>

#include <algorithm>
#include <cassert>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace foldnorm::detail {

// Costs first; of equal costs, the number of arcs that count. A flow needs sums, differences and an order, no more.
struct CutCost {
  double cost = 0;
  double count = 0;
  static CutCost infinite() { return {std::numeric_limits<double>::infinity(), 0}; }
  auto operator<=>(CutCost const&) const = default;
  CutCost& operator+=(CutCost const& other) {
    cost += other.cost;
    count += other.count;
    return *this;
  }
  CutCost& operator-=(CutCost const& other) {
    cost -= other.cost;
    count -= other.count;
    return *this;
  }
};

class MinimumCut {
 public:
  using Vertex = std::int32_t;

  explicit MinimumCut(std::size_t vertices) : begin_(vertices + 1) {}

  // Capacities >= 0; those of the arcs that leave the source are finite.
  void add_arc(Vertex from, Vertex to, CutCost capacity) { added_.push_back({from, to, capacity}); }

  // By vertex: is it on the sink's side? Of all cheapest cuts, the one with the smallest such side. Called once. Cost:
  // some passes over the arcs where flows do not compete, in the worst case of the order V^2 sqrt(arcs).
  std::vector<bool> sink_side(Vertex source, Vertex sink) {
    arrange();
    source_ = source;
    sink_ = sink;
    excess_.resize(size());
    next_active_.resize(size());
    current_ = begin_;
    for (std::size_t a = begin_[at(source)]; a < begin_[at(source) + 1]; ++a) move(a, arcs_[a].residual);
    find_labels();
    while (highest_ > 0) {
      Vertex const vertex = first_active_[highest_];
      if (vertex < 0) {
        --highest_;
        continue;
      }
      first_active_[highest_] = next_active_[at(vertex)];
      discharge(vertex);
      if (work_ > 4 * arcs_.size() + 4 * size()) find_labels();
    }
    find_labels();
    std::vector<bool> result(size());
    for (std::size_t v = 0; v < result.size(); ++v) result[v] = label_[v] < size();
    return result;
  }

 private:
  struct AddedArc {
    Vertex from;
    Vertex to;
    CutCost capacity;
  };
  struct Arc {
    Vertex to;
    std::uint32_t reverse;  // place of the opposite arc
    CutCost residual;
  };

  static std::size_t at(Vertex vertex) { return static_cast<std::size_t>(vertex); }
  std::size_t size() const { return begin_.size() - 1; }

  // Every arc and its opposite, by the vertex that they leave.
  void arrange() {
    assert(2 * added_.size() < std::numeric_limits<std::uint32_t>::max());
    for (AddedArc const& arc : added_) {
      ++begin_[at(arc.from) + 1];
      ++begin_[at(arc.to) + 1];
    }
    for (std::size_t v = 1; v < begin_.size(); ++v) begin_[v] += begin_[v - 1];
    arcs_.resize(2 * added_.size());
    std::vector<std::uint32_t> next(begin_.begin(), begin_.end() - 1);
    for (AddedArc const& arc : added_) {
      std::uint32_t const forth = next[at(arc.from)]++;
      std::uint32_t const back = next[at(arc.to)]++;
      arcs_[forth] = {arc.to, back, arc.capacity};
      arcs_[back] = {arc.from, forth, {}};
    }
    added_ = {};
  }

  void move(std::size_t a, CutCost amount) {
    Arc& arc = arcs_[a];
    arc.residual -= amount;
    arcs_[arc.reverse].residual += amount;
    excess_[at(arcs_[arc.reverse].to)] -= amount;
    excess_[at(arc.to)] += amount;
  }

  // Sends what has gathered at a vertex on toward the sink, along arcs that go down one label.
  void discharge(Vertex vertex) {
    std::size_t const v = at(vertex);
    while (label_[v] < size()) {
      for (std::uint32_t& a = current_[v]; a < begin_[v + 1]; ++a) {
        ++work_;
        Vertex const to = arcs_[a].to;
        if (!(arcs_[a].residual > CutCost{}) || label_[at(to)] + 1 != label_[v]) continue;
        bool const was_idle = !(excess_[at(to)] > CutCost{});
        move(a, std::min(excess_[v], arcs_[a].residual));
        if (was_idle) activate(to);
        if (!(excess_[v] > CutCost{})) return;
      }
      std::size_t lowest = size();
      for (std::size_t a = begin_[v]; a < begin_[v + 1]; ++a) {
        ++work_;
        if (arcs_[a].residual > CutCost{}) lowest = std::min(lowest, label_[at(arcs_[a].to)] + 1);
      }
      // Where nobody is left on a label, nothing above it gets past it.
      bool const is_gap = --labelled_[label_[v]] == 0;
      label_[v] = is_gap ? size() : lowest;
      if (label_[v] < size()) ++labelled_[label_[v]];
      current_[v] = begin_[v];
    }
  }

  void activate(Vertex vertex) {
    if (vertex == source_ || vertex == sink_) return;
    std::size_t const label = label_[at(vertex)];
    if (label >= size()) return;
    next_active_[at(vertex)] = first_active_[label];
    first_active_[label] = vertex;
    highest_ = std::max(highest_, label);
  }

  // Labels every vertex with its distance to the sink along arcs with something left; size() where there is no way.
  void find_labels() {
    work_ = 0;
    label_.assign(size(), size());
    std::vector<Vertex> queue{sink_};
    label_[at(sink_)] = 0;
    for (std::size_t next = 0; next < queue.size(); ++next) {
      Vertex const to = queue[next];
      for (std::size_t a = begin_[at(to)]; a < begin_[at(to) + 1]; ++a) {
        Vertex const from = arcs_[a].to;
        bool const is_open = arcs_[arcs_[a].reverse].residual > CutCost{};
        if (!is_open || from == source_ || label_[at(from)] < size()) continue;
        label_[at(from)] = label_[at(to)] + 1;
        queue.push_back(from);
      }
    }
    first_active_.assign(size(), -1);
    labelled_.assign(size(), 0);
    highest_ = 0;
    for (Vertex const vertex : queue) {
      ++labelled_[label_[at(vertex)]];
      if (excess_[at(vertex)] > CutCost{}) activate(vertex);
    }
    current_ = begin_;
  }

  std::vector<AddedArc> added_;
  std::vector<std::uint32_t> begin_;  // of each vertex's arcs; one past the last at the end
  std::vector<Arc> arcs_;
  Vertex source_ = 0;
  Vertex sink_ = 0;
  std::vector<CutCost> excess_;
  std::vector<std::size_t> label_;
  std::vector<Vertex> labelled_;        // how many vertices have each label
  std::vector<std::uint32_t> current_;  // the arc at which a vertex goes on
  std::vector<Vertex> first_active_;    // by label: vertices with an excess, linked by next_active_
  std::vector<Vertex> next_active_;
  std::size_t highest_ = 0;  // no vertex with a higher label is active
  std::size_t work_ = 0;     // arcs looked at since labels were exact
};

}  // namespace foldnorm::detail
