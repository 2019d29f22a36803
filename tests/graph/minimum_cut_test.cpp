// SPDX-License-Identifier: MIT
// tests/graph/minimum_cut_test.cpp -- the cheapest cut, of equal ones that of the fewest counted arcs, of those the one
// with the smallest side at the sink: against all cuts of small networks, and on large ones.
#include <foldnorm/graph/minimum_cut.hpp>

#include "catch.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace minimum_cuts {

using foldnorm::detail::CutCost;
using foldnorm::detail::MinimumCut;

struct Network {
  struct Arc {
    int from, to;
    CutCost capacity;
  };
  int vertices = 0;
  std::vector<Arc> arcs;

  std::vector<bool> sink_side() const {
    MinimumCut cut(static_cast<std::size_t>(vertices));
    for (Arc const& arc : arcs) cut.add_arc(arc.from, arc.to, arc.capacity);
    return cut.sink_side(0, 1);
  }
  // Of the arcs from the source's side to the sink's.
  CutCost cost(std::vector<bool> const& sink_side) const {
    CutCost sum;
    for (Arc const& arc : arcs) {
      if (!sink_side[static_cast<std::size_t>(arc.from)] && sink_side[static_cast<std::size_t>(arc.to)]) {
        sum += arc.capacity;
      }
    }
    return sum;
  }
};

// Capacities are small integers, often equal; arcs go anywhere, so that flows compete and have to turn back.
Network random_network(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  auto const below = [&](int count) { return static_cast<int>(random() % static_cast<std::uint64_t>(count)); };
  Network result{3 + below(6), {}};
  for (int k = below(4 * result.vertices); k >= 0; --k) {
    int const from = below(result.vertices), to = below(result.vertices);
    if (from == to || from == 1 || to == 0) continue;
    CutCost capacity{static_cast<double>(below(4)), static_cast<double>(below(2))};
    if (from != 0 && below(4) == 0) capacity = CutCost::infinite();
    result.arcs.push_back({from, to, capacity});
  }
  return result;
}

}  // namespace minimum_cuts

TEST_CASE("minimum_cut: no cut of a random network is cheaper, and none as cheap has less at the sink") {
  using namespace minimum_cuts;
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    CAPTURE(seed);
    Network const network = random_network(seed);
    std::vector<bool> const found = network.sink_side();
    REQUIRE_FALSE(found[0]);
    REQUIRE(found[1]);
    for (unsigned other = 0; other < 1U << network.vertices; ++other) {
      if ((other & 1U) || !(other & 2U)) continue;
      std::vector<bool> side;
      for (int v = 0; v < network.vertices; ++v) side.push_back(other >> v & 1U);
      bool const is_better = network.cost(side) < network.cost(found);
      REQUIRE_FALSE(is_better);
      if (network.cost(side) != network.cost(found)) continue;
      for (std::size_t v = 0; v < side.size(); ++v) REQUIRE((side[v] || !found[v]));
    }
  }
}

TEST_CASE("minimum_cut: a source that does not reach the sink costs nothing, and nor does a sink without arcs") {
  using namespace minimum_cuts;
  Network network{4, {{0, 2, {5, 1}}}};
  CHECK(network.sink_side() == std::vector<bool>{false, true, false, false});
  network.arcs.push_back({3, 1, CutCost::infinite()});
  CHECK(network.sink_side() == std::vector<bool>{false, true, false, true});
  CHECK(Network{2, {}}.sink_side() == std::vector<bool>{false, true});
}

// Augmenting path by path, or level by level, takes 1e10 steps here: every one of 1e5 sources is at another distance,
// and most of what they send is stuck at an arc further on.
TEST_CASE("minimum_cut: two chains of 1e5 vertices with a source each, through arcs of random capacity") {
  using namespace minimum_cuts;
  int const length = 100'000;
  Network network{2 + 4 * length, {}};
  std::mt19937_64 random(1);
  for (int chain = 0; chain < 2; ++chain) {
    for (int k = 0; k < length; ++k) {
      int const entry = 2 + 2 * (chain * length + k);
      double const capacity = static_cast<double>(random() % 1000);
      network.arcs.push_back({0, entry, {1, 0}});
      network.arcs.push_back({entry, entry + 1, {capacity, 1}});
      network.arcs.push_back({entry + 1, k == 0 ? 1 : entry - 2, CutCost::infinite()});
    }
  }
  // From the sink on: what can still come through a vertex, at the cost of the smallest arc on its way.
  double expected = 0;
  for (int chain = 0; chain < 2; ++chain) {
    double through = 0;
    for (int k = length; k-- > 0;) {
      auto const& arc = network.arcs[static_cast<std::size_t>(3 * (chain * length + k) + 1)];
      through = std::min(through + 1, arc.capacity.cost);
    }
    expected += through;
  }
  CHECK(network.cost(network.sink_side()).cost == expected);
}
