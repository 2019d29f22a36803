// SPDX-License-Identifier: MIT
// tests/graph/fold_parts_test.cpp -- a fold carried out in parts is the fold.
#include <foldnorm/graph/fold_parts.hpp>

#include "graph/graph_testing.hpp"
#include "graph/random_graph.hpp"

#include "catch.hpp"

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;

namespace {

// Every parameter that a part changes, as it leaves it. Each may be changed by one part only.
Parameters folded_in_parts(Graph const& graph, std::vector<FoldPart> const& parts, Parameters const& original) {
  Parameters result;
  for (FoldPart const& part : parts) {
    Parameters needed;
    for (std::string const& name : part.parameters) needed.set(name, original.at(name));
    FoldedModel const folded = fold_norms(graph, part.report, needed);
    for (auto const& [name, value] : folded.parameters) {
      if (original.contains(name) && value == original.at(name)) continue;
      CAPTURE(name);
      CHECK_FALSE(result.contains(name));
      result.set(name, value);
    }
  }
  return result;
}

}  // namespace

TEST_CASE("fold_parts: of random graphs, carried out one after the other, give the values of the whole fold") {
  std::size_t compared = 0, several = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    auto const [graph, tokens] = fuzz::random_graph(seed);
    CAPTURE(seed);
    FoldOptions options;
    options.affine = seed % 2 == 0;
    options.tied = static_cast<TiedTables>(seed % 3);
    if (seed % 5 == 0) options.insert_centering = PlacementCosts{};
    FoldReport const report = find_foldable_norms(graph, options);
    Parameters const original = random_parameters(graph, tokens, seed);
    FoldedModel const whole = fold_norms(graph, report, original);
    for (double const most : {0.0, 40.0, std::numeric_limits<double>::infinity()}) {
      std::vector<FoldPart> const parts = fold_parts(graph, report, most);
      if (most > 40) CHECK(parts.size() <= 1);
      several += parts.size() > 1;
      Parameters const changed = folded_in_parts(graph, parts, original);
      for (auto const& [name, value] : whole.parameters) {
        CAPTURE(name);
        bool const is_changed = changed.contains(name);
        CHECK((is_changed ? changed.at(name) : original.at(name)) == value);
        compared += is_changed;
      }
    }
  }
  CHECK(several > 200);
  CHECK(compared > 1000);
}

TEST_CASE("fold_parts: a part reads its own layers and the vectors that go into them, and no other's") {
  Graph const g = graph_of(R"(
    input x features=5
    linear a x out=6 weight=A bias=a0
    layer_norm n a gamma=g beta=c
    linear p n out=4 weight=P
    linear q n out=4 weight=Q bias=q0
    output y p
    output z q
  )");
  FoldOptions options;
  options.affine = true;
  FoldReport const report = find_foldable_norms(g, options);
  std::vector<std::set<std::string, std::less<>>> names;
  for (FoldPart const& part : fold_parts(g, report, 0)) names.push_back(part.parameters);
  CHECK(names == std::vector<std::set<std::string, std::less<>>>{{"A", "a0"}, {"P", "c", "g"}, {"Q", "c", "g", "q0"}});
  CHECK(fold_parts(g, report, 30 + 6 + 24).size() == 2);
  CHECK(fold_parts(g, FoldReport{}, 0).empty());
}
