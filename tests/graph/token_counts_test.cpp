// SPDX-License-Identifier: MIT
// tests/graph/token_counts_test.cpp -- how many tokens each value has, and where they do not fit.
#include <foldnorm/graph/token_counts.hpp>

#include "graph/matchers.hpp"

#include "catch.hpp"

#include <string>
#include <vector>

using namespace foldnorm;
using foldnorm::testing::Contains;

TEST_CASE("token_counts: follows tokens through every operator that changes them") {
  Graph g;
  NodeId const x = g.input("x", 2);
  NodeId const mean = g.mean_tokens("mean", x);
  NodeId const most = g.max_tokens("max", x);
  NodeId const both = g.concat_tokens("both", {mean, x, most});
  NodeId const merged = g.merge_tokens("merged", both, 4);
  g.permute_tokens("reversed", both);
  g.add("spread", {mean, x});
  g.multiply("one", mean, most);
  g.attention("few_queries", mean, both, both);
  g.attention("many_queries", both, mean, mean);
  g.concat_features("wide", {both, both});
  g.embedding("e", g.ids("i", 9), 2, "E");
  g.output("y", merged);
  //                               x mean max both merged rev spread one few many wide i  e  y
  CHECK(token_counts(g, 6) == std::vector<Index>{6, 1, 1, 8, 2, 8, 6, 1, 1, 8, 8, 6, 6, 2});
  CHECK_THROWS_WITH(token_counts(g, 5), Contains("merge_tokens merged") && Contains("4") && Contains("7"));
}

TEST_CASE("token_counts: operands of an addition have equal tokens or one") {
  Graph g;
  NodeId const x = g.input("x", 2);
  NodeId const twice = g.concat_tokens("twice", {x, x});
  g.add("sum", {x, twice});
  CHECK(token_counts(g, 1).back() == 2);
  CHECK_THROWS_WITH(token_counts(g, 3), Contains("add sum") && Contains("3") && Contains("6"));
}

TEST_CASE("token_counts: operands side by side have equal tokens, one is not repeated") {
  Graph g;
  NodeId const x = g.input("x", 2);
  g.concat_features("wide", {x, g.mean_tokens("mean", x)});
  CHECK(token_counts(g, 1).back() == 1);
  CHECK_THROWS_WITH(token_counts(g, 3), Contains("concat_features wide"));
}

TEST_CASE("token_counts: keys and values have equal tokens") {
  Graph g;
  NodeId const x = g.input("x", 2);
  g.attention("a", x, x, g.mean_tokens("mean", x));
  CHECK_THROWS_WITH(token_counts(g, 3), Contains("attention a") && Contains("3") && Contains("1"));
}

TEST_CASE("token_counts: a mean, a maximum and an attention need tokens, other operators do not") {
  Graph plain, mean, most, attention;
  plain.relu("r", plain.input("x", 2));
  CHECK(token_counts(plain, 0) == std::vector<Index>{0, 0});
  mean.mean_tokens("m", mean.input("x", 2));
  CHECK_THROWS_WITH(token_counts(mean, 0), Contains("mean_tokens m"));
  most.max_tokens("m", most.input("x", 2));
  CHECK_THROWS_WITH(token_counts(most, 0), Contains("max_tokens m"));
  NodeId const x = attention.input("x", 2);
  attention.attention("a", x, x, x);
  CHECK_THROWS_WITH(token_counts(attention, 0), Contains("attention a"));
}

TEST_CASE("token_counts: stops at an opaque node, which it names") {
  Graph g;
  g.opaque("magic", {g.input("x", 2)}, 3);
  CHECK_THROWS_AS(token_counts(g, 3), graph_error);
  CHECK_THROWS_WITH(token_counts(g, 3), Contains("opaque magic"));
}

TEST_CASE("token_counts: more tokens than a count may say are an error, not another number") {
  Graph g;
  NodeId last = g.input("x", 2);
  for (int i = 0; i < 64; ++i) last = g.concat_tokens("c" + std::to_string(i), {last, last});
  g.output("y", last);
  CHECK_THROWS_AS(token_counts(g, 5), graph_error);
}
