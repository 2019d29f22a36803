// SPDX-License-Identifier: MIT
// tests/graph/find_foldable_norms_scale_test.cpp -- graphs that a recursive, or path by path, analysis would not
// survive.
//
// A million nodes in a row overflow the stack of a recursive walk, 2^64 paths outlast anybody who walks them one by
// one, and a walk that starts afresh at each of 2e5 norms takes 1e10 steps. Nothing here is timed: it ends, or not.
#include <foldnorm/graph/find_foldable_norms.hpp>

#include "catch.hpp"

#include <string>
#include <utility>
#include <vector>

using namespace foldnorm;

namespace {

constexpr int million = 1'000'000;

// `count` nodes in a row on top of x, every one a different operator that lets a zero mean through.
NodeId chain(Graph& g, NodeId x, int count, std::string const& prefix) {
  for (int i = 0; i < count; ++i) {
    std::string name = prefix + std::to_string(i);
    switch (i % 4) {
      case 0:
        x = g.identity(std::move(name), x);
        break;
      case 1:
        x = g.scale(std::move(name), x, 1.5);
        break;
      case 2:
        x = g.permute_tokens(std::move(name), x);
        break;
      default:
        x = g.add(std::move(name), {x, x});
    }
  }
  return x;
}

}  // namespace

TEST_CASE("find_foldable_norms: sees through a chain of a million nodes") {
  Graph g;
  NodeId const h = g.linear("h", g.input("x", 4), 6, "W", "b");
  g.output("y", g.layer_norm("n", chain(g, h, million, "c")));
  FoldReport const report = find_foldable_norms(g);
  CHECK(report.folds() == 1);
  CHECK(report.centerings.size() == 2);
}

TEST_CASE(
    "find_foldable_norms: finds the culprit at the far end of a million nodes, behind the norm and in front of it") {
  Graph g;
  NodeId const x = g.input("x", 4);
  NodeId const h = g.linear("h", x, 4, "W");
  g.layer_norm("behind", chain(g, x, million / 2, "b"));
  g.layer_norm("in_front", h);
  NodeId const end = chain(g, h, million / 2, "f");
  NodeId const culprit = g.relu("culprit", end);
  g.output("y", culprit);
  FoldReport const report = find_foldable_norms(g);
  REQUIRE(report.norms.size() == 2);
  CHECK(report.norms[0].refusal == Refusal{Reason::input, x, "x"});
  CHECK(report.norms[1].refusal == Refusal{Reason::read_unforgiven, culprit, "culprit"});
}

TEST_CASE("find_foldable_norms: a residual stream of 1e5 blocks, folding, and refused by one reader at its end") {
  for (bool const observed : {false, true}) {
    int const blocks = 100'000;
    Graph g;
    NodeId stream = g.linear("embed", g.input("x", 4), 4, "E");
    for (int i = 0; i < blocks; ++i) {
      std::string const k = std::to_string(i);
      NodeId const n = g.layer_norm("n" + k, stream, "g" + k, "b" + k);
      stream = g.add("s" + k, {stream, g.linear("l" + k, n, 4, "W" + k)});
    }
    NodeId const last = observed ? g.output("raw", stream) : g.output("y", g.layer_norm("final", stream));
    FoldReport const report = find_foldable_norms(g);
    CHECK(report.folds() == (observed ? 0U : 1U + blocks));
    CHECK(report.centerings.size() == (observed ? 0U : 1U + blocks));
    if (observed) {
      CHECK(report.norms.front().refusal->blame == last);
      CHECK(report.norms.back().refusal->blame == last);
    }
  }
}

TEST_CASE("find_foldable_norms: a ladder of diamonds with 2^200 paths") {
  for (bool const observed : {false, true}) {
    Graph g;
    NodeId x = g.linear("h", g.input("x", 4), 4, "W");
    for (int i = 0; i < 200; ++i) {
      std::string const k = std::to_string(i);
      x = g.add("join" + k, {g.identity("left" + k, x), g.scale("right" + k, x, 0.25)});
    }
    g.output("y", g.layer_norm("n", x));
    if (observed) g.output("raw", x);
    FoldReport const report = find_foldable_norms(g);
    CHECK(report.norms[0].folds() == !observed);
    if (observed) CHECK(report.norms[0].refusal->reason == Reason::output);
  }
}

TEST_CASE("find_foldable_norms: 2e5 norms that share one culprit at the end of a long chain") {
  Graph g;
  NodeId const end = chain(g, g.input("x", 4), 200'000, "c");
  for (int i = 0; i < 200'000; ++i) g.layer_norm(std::string("n").append(std::to_string(i)), end);
  FoldReport const report = find_foldable_norms(g);
  CHECK(report.norms.size() == 200'000);
  CHECK(report.norms.back().refusal->blame_name == "x");
}

TEST_CASE("find_foldable_norms: one parameter shared by 2e5 layers, one of which forbids its centering") {
  Graph g;
  NodeId const x = g.input("x", 4);
  for (int i = 0; i < 200'000; ++i) {
    std::string const k = std::to_string(i);
    g.layer_norm("n" + k, g.linear("l" + k, x, 4, "W"));
  }
  g.output("raw", g.linear("forbids", x, 4, "W"));
  FoldReport const report = find_foldable_norms(g);
  CHECK(report.folds() == 0);
  CHECK(report.norms.front().refusal->reason == Reason::tied);
  CHECK(report.norms.back().refusal->blame_name == "forbids");
}

TEST_CASE("find_foldable_norms: sizes up to 2^31 - 1 features cost nothing by themselves") {
  Index const many = 2147483647;
  Graph g;
  NodeId const h = g.linear("h", g.input("x", many), many, "W");
  NodeId const s = g.slice_features("s", h, 1000, many - 2000);
  g.output("y", g.layer_norm("n", s));
  FoldReport const report = find_foldable_norms(g);
  REQUIRE(report.folds() == 1);
  CHECK(report.centerings[0].parts == std::vector<Interval>{{1000, many - 1000}});
}

TEST_CASE("find_foldable_norms: 2e9 merged tokens or attention heads cost no memory") {
  Graph merged;
  merged.output("y", merged.layer_norm("n", merged.merge_tokens("m", merged.input("x", 1), 2'000'000'000)));
  CHECK(find_foldable_norms(merged).norms[0].refusal->reason == Reason::input);
  Graph mixed;
  NodeId const x = mixed.input("x", 2'000'000'000);
  mixed.output("y", mixed.layer_norm("n", mixed.attention("a", x, x, x, 2'000'000'000)));
  CHECK(find_foldable_norms(mixed).norms[0].refusal->reason == Reason::nonlinear);
}

TEST_CASE("find_foldable_norms: 2e9 merged tokens of which one is read take no time") {
  Graph g;
  NodeId const last = g.slice_features("s", g.merge_tokens("m", g.input("x", 1), 2147483647), 2147483646, 1);
  g.output("y", g.layer_norm("n", last));
  CHECK(find_foldable_norms(g).norms[0].refusal->reason == Reason::input);
  Graph produced;
  NodeId const h = produced.linear("h", produced.input("x", 4), 1, "W");
  produced.output("y", produced.layer_norm("n", produced.merge_tokens("m", h, 2147483647)));
  Refusal const refusal = *find_foldable_norms(produced).norms[0].refusal;
  CHECK(refusal.reason == Reason::feature_mix);
}

TEST_CASE("find_foldable_norms: 8,000 parts of one value, joined, cut and normalized each by itself") {
  constexpr Index parts = 8'000;
  for (bool const observed : {false, true}) {
    Graph g;
    NodeId const x = g.input("x", 4);
    std::vector<NodeId> joined;
    for (Index k = 0; k < parts; ++k) {
      std::string const name = std::to_string(k);
      joined.push_back(g.linear("h" + name, x, 2, "W" + name));
    }
    NodeId const all = g.concat_features("all", joined);
    for (Index k = 0; k < parts; ++k) {
      std::string const name = std::to_string(k);
      NodeId const part = g.slice_features("s" + name, all, 2 * k, 2);
      g.output("y" + name, g.layer_norm("n" + name, part));
    }
    if (observed) g.output("raw", all);
    FoldOptions options;
    options.insert_centering.emplace();
    FoldReport const report = find_foldable_norms(g, options);
    CHECK(report.folds() == (observed ? 0U : std::size_t{parts}));
    CHECK(report.centerings.size() == (observed ? 0U : std::size_t{parts}));
    if (observed) CHECK(report.norms.back().refusal->blame_name == "raw");
  }
}

TEST_CASE("find_foldable_norms: 200,000 groups of a norm that stays have zero means that centers must keep") {
  constexpr Index groups = 200'000;
  Graph g;
  NodeId const x = g.input("x", 4);
  NodeId const h = g.linear("h", x, 3 * groups, "W");
  NodeId const r = g.relu("r", g.linear("v", x, 3 * groups, "V"));
  g.output("y", g.layer_norm("n", g.concat_features("c", {h, r}), "", "", {1e-5, 2 * groups}));
  FoldOptions options;
  options.insert_centering.emplace();
  FoldReport const report = find_foldable_norms(g, options);
  CHECK(report.folds() == 0);
  CHECK(report.norms[0].refusal == Refusal{Reason::nonlinear, r, "r"});
}
