// SPDX-License-Identifier: MIT
// tests/graph/fuzz_placement_test.cpp -- random graphs: no set of inserted centers is worth more than the one that is
// placed, and none changes what a graph computes.
//
// The reference inserts every subset of centers for real, and asks find_foldable_norms about each graph.
#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "catch.hpp"
#include "graph/fuzz_support.hpp"

namespace fuzz_placement {

using namespace fuzz;
using foldnorm::find_foldable_norms;
using foldnorm::FoldMode;
using foldnorm::FoldOptions;
using foldnorm::PlacementCosts;
using foldnorm::TiedTables;

constexpr std::size_t most_candidates = 6;

// Small integers, so that sums and ties are exact; the same for a node in whatever graph it stands.
struct Prices {
  std::map<std::string, double> insertion, norm;

  Prices(Graph const& graph, Random& random) {
    bool const uniform = random.chance(0.4);
    for (Node const& node : graph.nodes()) {
      insertion[node.name] = uniform ? 1 : static_cast<double>(random.between(0, 4));
      norm[node.name] = uniform ? 1 : static_cast<double>(random.between(0, 3));
    }
  }
  PlacementCosts costs() const {
    PlacementCosts result;
    result.insertion = [this](Graph const& graph, NodeId node) { return insertion.at(graph.node(node).name); };
    result.norm = [this](Graph const& graph, NodeId node) { return norm.at(graph.node(node).name); };
    return result;
  }
};

Graph with_centers(Graph const& graph, std::set<std::string> const& behind) {
  Statements result;
  for (Statement& statement : statements_of(graph)) {
    for (std::string& input : statement.inputs) {
      if (behind.contains(input)) input += ".centered";
    }
    std::string const name = statement.name;
    result.push_back(std::move(statement));
    if (behind.contains(name)) result.push_back({Operator::center, name + ".centered", {name}, {}, {}});
  }
  return build(result);
}

std::set<std::string> folding(FoldReport const& report) {
  std::set<std::string> result;
  for (auto const& norm : report.norms) {
    if (norm.folds()) result.insert(norm.name);
  }
  return result;
}

struct Worth {
  double net = 0;
  long insertions = 0;
  bool beats(Worth const& other) const {
    return net > other.net || (net == other.net && insertions < other.insertions);
  }
};

Worth worth(std::set<std::string> const& folds, std::set<std::string> const& inserted, Prices const& prices) {
  Worth result{0, static_cast<long>(inserted.size())};
  for (std::string const& norm : folds) result.net += prices.norm.at(norm);
  for (std::string const& node : inserted) result.net -= prices.insertion.at(node);
  return result;
}

// Wherever a shift of the whole axis is forgiven. Special are those where other shifts are, too (nobody reads some of
// the features, or a norm of single ones makes nothing of them), and those where a part of the axis has zero mean by
// itself, which a center would spoil. Unread are norms of which nobody can tell some features.
struct Candidates {
  std::vector<std::string> all;
  std::set<std::string> special, unread;
};

Candidates candidates(Graph const& graph, FoldOptions const& options) {
  foldnorm::detail::FoldFacts const facts(graph, options);
  Candidates result;
  for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
    NodeId const id{static_cast<std::int32_t>(n)};
    Index const features = graph.node(id).features;
    bool const is_norm = graph.node(id).op == Operator::layer_norm;
    if (is_norm && !facts.tolerated(id).only_each().empty()) result.unread.insert(graph.node(id).name);
    if (features > 0 && facts.tolerated(id).covers(0, features) && !facts.zero_mean(id).covers(0, features)) {
      result.all.push_back(graph.node(id).name);
      bool const is_plain = features > 1 && facts.tolerated(id) == foldnorm::detail::Segments::whole(features);
      if (!is_plain || !facts.zero_mean(id).empty()) result.special.insert(graph.node(id).name);
    }
  }
  return result;
}

struct PlacementTally {
  long graphs = 0, too_large = 0, subsets = 0, with_insertions = 0, insertions = 0, freed = 0, several = 0,
       ill_conditioned = 0, above_tolerance = 0, better = 0;
};

std::string printed(PlacementTally const& t) {
  std::ostringstream out;
  out << t.graphs << " graphs (" << t.too_large << " more had over " << most_candidates << " candidates), " << t.subsets
      << " subsets; " << t.with_insertions << " graphs with " << t.insertions << " insertions that free " << t.freed
      << " norms, " << t.several << " sets of several insertions; " << t.ill_conditioned
      << " comparisons left to rounding, " << t.above_tolerance << " outputs more than 1e-12 apart; " << t.better
      << " beaten where nobody reads some features, or parts have zero mean";
  return out.str();
}

// Empty where all is well, or where there are too many candidates.
std::string wrong_placement(Sample const& sample, std::uint64_t seed, PlacementTally& tally) {
  Graph const& graph = sample.graph;
  Random random(seed ^ 0x5851f42d4c957f2d);
  Prices const prices(graph, random);
  FoldOptions options;
  if (random.chance(0.2)) options.mode = FoldMode::training;
  if (options.mode == FoldMode::inference) {
    options.tied = random.pick(std::vector{TiedTables::refuse, TiedTables::untie, TiedTables::correct});
  }
  FoldOptions placing = options;
  placing.insert_centering = prices.costs();
  placing.affine = options.mode == FoldMode::inference && random.chance(0.3);
  Candidates const offered = candidates(graph, options);
  std::vector<std::string> const& all = offered.all;
  if (all.size() > most_candidates) {
    ++tally.too_large;
    return "";
  }
  ++tally.graphs;
  FoldReport const report = find_foldable_norms(graph, placing);
  if (!report.placement) return "no placement";
  std::set<std::string> inserted;
  for (auto const& set : report.placement->sets) {
    if (!(set.profit() > set.cost())) return "a set that does not pay";
    tally.several += set.insertions.size() > 1;
    for (auto const& insertion : set.insertions) {
      if (!inserted.insert(insertion.name).second) return "inserted twice";
    }
    for (auto const& norm : set.norms) {
      if (!folding(report).contains(norm.name)) return "freed, and does not fold";
      ++tally.freed;
    }
  }
  tally.with_insertions += !inserted.empty();
  tally.insertions += static_cast<long>(inserted.size());

  // The report is the one of the graph with these centers in it.
  FoldReport const before = find_foldable_norms(graph, options);
  FoldReport const after = find_foldable_norms(with_centers(graph, inserted), options);
  if (folding(report) != folding(after)) return "other norms fold";
  if (report.centerings != after.centerings) return "other parameters are centered";
  if (!std::ranges::includes(folding(report), folding(before))) return "a norm folds no longer";

  Worth const found = worth(folding(report), inserted, prices);
  std::set<std::string> const found_folds = folding(report);
  bool is_beaten = false;
  for (unsigned subset = 0; subset < 1U << all.size(); ++subset) {
    std::set<std::string> chosen;
    for (std::size_t k = 0; k < all.size(); ++k) {
      if (subset >> k & 1U) chosen.insert(all[k]);
    }
    ++tally.subsets;
    std::set<std::string> const folds = folding(find_foldable_norms(with_centers(graph, chosen), options));
    if (!worth(folds, chosen, prices).beats(found)) continue;
    bool const is_special =
        std::ranges::any_of(chosen, [&](auto const& node) { return offered.special.contains(node); }) ||
        std::ranges::any_of(
            folds, [&](auto const& norm) { return offered.unread.contains(norm) && !found_folds.contains(norm); });
    if (!is_special) {
      std::string names;
      for (std::string const& name : chosen) names += " " + name;
      return "beaten by centers behind" + names;
    }
    is_beaten = true;
  }
  tally.better += is_beaten;
  Parameters const parameters = foldnorm::random_parameters(graph, sample.tokens, seed);
  Difference difference;
  Outcome const outcome =
      judge(graph, report, parameters, sample.tokens, options.mode == FoldMode::training, seed, &difference);
  tally.ill_conditioned += outcome == Outcome::ill_conditioned;
  tally.above_tolerance += difference.value > 1e-12;
  if (outcome == Outcome::different) return "another function: " + difference.where;
  return "";
}

std::string wrong_placement_or_throw(Sample const& sample, std::uint64_t seed, PlacementTally& tally) {
  try {
    return wrong_placement(sample, seed, tally);
  } catch (std::exception const& error) {
    return std::string("throws: ") + error.what();
  }
}

long check_placements(std::uint64_t seed, long graphs, PlacementTally& tally, std::ostream& failures) {
  long failed = 0;
  for (; tally.graphs < graphs; ++seed) {
    Sample const sample = random_graph(seed, {5, 8, true, true});
    std::string const wrong = wrong_placement_or_throw(sample, seed, tally);
    if (wrong.empty() || ++failed > 3) continue;
    Graph const small = shrink(sample.graph, [&](Graph const& graph) {
      PlacementTally ignored;
      std::string const same = wrong_placement_or_throw({graph, sample.tokens}, seed, ignored);
      return same.substr(0, 6) == wrong.substr(0, 6);
    });
    PlacementTally ignored;
    FoldOptions placing;
    placing.insert_centering = PlacementCosts{};
    failures << "seed " << seed << ": " << wrong << "\nshrunk, " << sample.tokens
             << " tokens: " << wrong_placement_or_throw({small, sample.tokens}, seed, ignored) << '\n'
             << small << find_foldable_norms(small, placing) << '\n';
  }
  return failed;
}

}  // namespace fuzz_placement

TEST_CASE("random graphs: no set of inserted centers is worth more than the one that is placed") {
  using namespace fuzz_placement;
  PlacementTally tally;
  std::ostringstream failures;
  long const failed = check_placements(1, 10000, tally, failures);
  WARN(printed(tally));
  INFO(failures.str());
  CHECK(failed == 0);
  CHECK(tally.above_tolerance == 0);
  // The generator must keep producing graphs that are worth the check.
  CHECK(tally.with_insertions > 1000);
  CHECK(tally.several > 10);
  CHECK(tally.better < tally.graphs / 100);
}

TEST_CASE("random graphs: a long run finds no better set of inserted centers", "[.long]") {
  using namespace fuzz_placement;
  PlacementTally tally;
  std::ostringstream failures;
  long const failed = check_placements(static_cast<std::uint64_t>(environment("FOLDNORM_FUZZ_SEED", 1000000)),
                                       environment("FOLDNORM_FUZZ_GRAPHS", 500000) / 5, tally, failures);
  WARN(printed(tally));
  INFO(failures.str());
  CHECK(failed == 0);
}
