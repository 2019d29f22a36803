// SPDX-License-Identifier: MIT
// tests/graph/graph_test.cpp -- the builder: sizes it works out, statements it refuses, and what it leaves behind.
#include <foldnorm/graph/graph.hpp>

#include "graph/matchers.hpp"

#include "catch.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

using namespace foldnorm;
using foldnorm::testing::Contains;

namespace {

Index features_of(Graph const& g, NodeId id) { return g.node(id).features; }

ParameterDescription const& described(Graph const& g, std::string const& name) {
  return g.parameter(g.find_parameter(name).value());
}

// x: 6 features; ids: vocabulary 10; W: 4x6 with bias b; E: a 6x10 table; q: per token, 6 features.
struct Sample {
  Graph g;
  NodeId x = g.input("x", 6);
  NodeId words = g.ids("words", 10);
  NodeId h = g.linear("h", x, 4, "W", "b");
  NodeId e = g.embedding("e", words, 6, "E");
  NodeId s = g.add_token_parameter("s", e, "q");
  NodeId out = g.output("y", h);
};

}  // namespace

TEST_CASE("graph: is a value; a copy is equal until one of them grows") {
  STATIC_REQUIRE(std::is_copy_constructible_v<Graph>);
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<Graph>);
  Sample a;
  Graph copy = a.g;
  CHECK(copy == a.g);
  copy.relu("r", a.h);
  CHECK_FALSE(copy == a.g);
  CHECK_FALSE(a.g.find_node("r"));
  a.g.relu("r", a.h);  // the copy's ids hold here as well
  CHECK(copy == a.g);
}

TEST_CASE("graph: finds nodes and parameters by name, in spaces of their own") {
  Graph g;
  NodeId const x = g.input("same", 3);
  NodeId const h = g.linear("other", x, 3, "same", "other");
  CHECK(g.find_node("same") == x);
  CHECK(g.find_node("other") == h);
  CHECK_FALSE(g.find_node("none"));
  CHECK(described(g, "same").rows == 3);
  CHECK(described(g, "same").columns == 3);
  CHECK(described(g, "other").columns == 1);
  CHECK_FALSE(g.find_parameter("none"));
}

TEST_CASE("graph: works out the features of every operator's value") {
  Graph g;
  NodeId const x = g.input("x", 6);
  NodeId const words = g.ids("words", 10);
  CHECK(features_of(g, x) == 6);
  CHECK(features_of(g, words) == 0);
  CHECK(features_of(g, g.linear("linear", x, 4, "W")) == 4);
  CHECK(features_of(g, g.conv("conv", x, 9, 3, "K", "k", 3)) == 9);
  CHECK(features_of(g, g.embedding("embedding", words, 5, "E")) == 5);
  CHECK(features_of(g, g.add_parameter("add_parameter", x, "p")) == 6);
  CHECK(features_of(g, g.add_token_parameter("add_token_parameter", x, "q")) == 6);
  CHECK(features_of(g, g.scale_channels("scale_channels", x, "s")) == 6);
  CHECK(features_of(g, g.scale("scale", x, -2)) == 6);
  CHECK(features_of(g, g.add("add", {x, x, x})) == 6);
  CHECK(features_of(g, g.subtract("subtract", x, x)) == 6);
  CHECK(features_of(g, g.multiply("multiply", x, x)) == 6);
  CHECK(features_of(g, g.identity("identity", x)) == 6);
  CHECK(features_of(g, g.dropout("dropout", x, 0.1)) == 6);
  CHECK(features_of(g, g.drop_path("drop_path", x, 0)) == 6);
  CHECK(features_of(g, g.relu("relu", x)) == 6);
  CHECK(features_of(g, g.gelu("gelu", x)) == 6);
  CHECK(features_of(g, g.silu("silu", x)) == 6);
  CHECK(features_of(g, g.tanh("tanh", x)) == 6);
  CHECK(features_of(g, g.sigmoid("sigmoid", x)) == 6);
  CHECK(features_of(g, g.softmax("softmax", x)) == 6);
  CHECK(features_of(g, g.center("center", x)) == 6);
  CHECK(features_of(g, g.layer_norm("layer_norm", x, "g", "b", {1e-6, 2})) == 6);
  CHECK(features_of(g, g.rms_norm("rms_norm", x, "g", {}, {0, 3})) == 6);
  CHECK(features_of(g, g.batch_norm("batch_norm", x, "s", "b")) == 6);
  CHECK(features_of(g, g.concat_tokens("concat_tokens", {x, x})) == 6);
  CHECK(features_of(g, g.concat_features("concat_features", {x, *g.find_node("linear"), x})) == 16);
  CHECK(features_of(g, g.slice_features("slice_features", x, 2, 4)) == 4);
  CHECK(features_of(g, g.mean_tokens("mean_tokens", x)) == 6);
  CHECK(features_of(g, g.max_tokens("max_tokens", x)) == 6);
  CHECK(features_of(g, g.permute_tokens("permute_tokens", x)) == 6);
  CHECK(features_of(g, g.merge_tokens("merge_tokens", x, 4)) == 24);
  CHECK(features_of(g, g.attention("attention", x, x, *g.find_node("linear"), 2)) == 4);
  CHECK(features_of(g, g.opaque("opaque", {}, 7)) == 7);
  CHECK(features_of(g, g.output("output", x)) == 6);
  CHECK(g.nodes().size() == operator_rows.size() + 1);  // add_parameter came in both forms
}

TEST_CASE("graph: keeps what a statement says, with defaults filled in") {
  Graph g;
  NodeId const x = g.input("x", 6);
  Node const& norm = g.node(g.layer_norm("n", x, "", "beta"));
  CHECK(norm.number(Key::eps) == 1e-5);
  CHECK(norm.count(Key::groups) == 1);
  CHECK_FALSE(norm.parameter(Key::gamma).present());
  CHECK(norm.parameter(Key::beta).present());
  Node const& drop = g.node(g.append(Operator::dropout, "d", {x}));
  CHECK(drop.number(Key::p) == 0.5);
  Node const& conv = g.node(g.append(Operator::conv, "c", {x}, {{{Key::out, 3}}, {{Key::weight, "W"}}}));
  CHECK(conv.count(Key::kernel) == 1);
  CHECK(conv.count(Key::groups) == 1);
}

TEST_CASE("graph: works out the size of every parameter from its role, and lists its uses") {
  Sample a;
  Graph& g = a.g;
  g.conv("c", a.x, 9, 5, "K", "k", 3);
  g.batch_norm("bn", a.h, "s", "t");
  g.layer_norm("n", a.h, "s", "b");
  auto const size = [&](char const* name) {
    return std::vector<Index>{described(g, name).rows, described(g, name).columns};
  };
  CHECK(size("W") == std::vector<Index>{4, 6});
  CHECK(size("b") == std::vector<Index>{4, 1});
  CHECK(size("E") == std::vector<Index>{6, 10});
  CHECK(size("K") == std::vector<Index>{9, 5 * 2});
  CHECK(size("k") == std::vector<Index>{9, 1});
  CHECK(size("s") == std::vector<Index>{4, 1});
  CHECK(size("q") == std::vector<Index>{6, 0});
  CHECK(described(g, "q").per_token);
  CHECK(described(g, "E").is_table);
  CHECK_FALSE(described(g, "W").is_table);
  CHECK(described(g, "b").uses == std::vector<ParameterUse>{{a.h, Key::bias}, {g.find_node("n").value(), Key::beta}});
  CHECK(g.parameters()[0].name == "W");  // in the order of first use
  CHECK(g.parameters()[1].name == "b");
  CHECK(g.parameters()[2].name == "E");
}

TEST_CASE("graph: a tied head uses the table transposed, whether the head comes first or last") {
  Graph last;
  NodeId const e = last.embedding("e", last.ids("i", 10), 4, "E");
  last.linear("head", e, 10, "E");
  CHECK(described(last, "E").rows == 4);
  CHECK(described(last, "E").columns == 10);

  Graph first;
  NodeId const x = first.input("x", 4);
  first.linear("head", x, 10, "E");
  CHECK(described(first, "E").rows == 10);  // an ordinary weight so far
  first.embedding("e", first.ids("i", 10), 4, "E");
  CHECK(described(first, "E").rows == 4);
  CHECK(described(first, "E").columns == 10);
  CHECK(described(first, "E").is_table);

  Graph other;
  NodeId const z = other.input("x", 4);
  other.linear("not_a_head", z, 4, "E");
  other.linear("again", z, 4, "E");
  CHECK_THROWS_WITH(other.embedding("e", other.ids("i", 10), 4, "E"), Contains("embedding e") && Contains("4x10"));
}

TEST_CASE("graph: refuses what does not fit, names the node, and stays as it was") {
  struct Bad {
    char const* what;
    std::function<void(Sample&)> act;
    std::vector<std::string> message;
  };
  using G = Sample;
  std::vector<Bad> const table{
      {"empty name", [](G& a) { a.g.relu("", a.x); }, {"relu", "name"}},
      {"malformed name", [](G& a) { a.g.relu("a b", a.x); }, {"relu a b", "name"}},
      {"name with a key", [](G& a) { a.g.relu("a=b", a.x); }, {"relu a=b"}},
      {"taken name", [](G& a) { a.g.relu("h", a.x); }, {"relu h", "taken"}},
      {"malformed parameter name", [](G& a) { a.g.linear("l", a.x, 2, "a#b"); }, {"linear l", "a#b"}},
      {"dangling input", [](G& a) { a.g.relu("r", NodeId{99}); }, {"relu r"}},
      {"default input", [](G& a) { a.g.relu("r", NodeId{}); }, {"relu r"}},
      {"self loop", [](G& a) { a.g.relu("r", NodeId{6}); }, {"relu r"}},
      {"an output is read", [](G& a) { a.g.relu("r", a.out); }, {"relu r", "y"}},
      {"ids are read as a tensor", [](G& a) { a.g.relu("r", a.words); }, {"relu r", "words"}},
      {"ids are an output", [](G& a) { a.g.output("o", a.words); }, {"output o", "words"}},
      {"ids in an opaque node", [](G& a) { a.g.opaque("o", {a.words}, 3); }, {"opaque o", "words"}},
      {"a lookup of a tensor", [](G& a) { a.g.embedding("f", a.x, 6, "F"); }, {"embedding f", "x"}},
      {"add of one", [](G& a) { a.g.add("s2", {a.x}); }, {"add s2"}},
      {"subtract of three",
       [](G& a) {
         a.g.append(Operator::subtract, "d", {a.x, a.x, a.x});
       },
       {"subtract d"}},
      {"attention of two",
       [](G& a) {
         a.g.append(Operator::attention, "t", {a.x, a.x});
       },
       {"attention t"}},
      {"input that reads",
       [](G& a) {
         a.g.append(Operator::input, "z", {a.x}, {{{Key::features, 3}}, {}});
       },
       {"input z"}},
      {"zero features", [](G& a) { a.g.input("z", 0); }, {"input z", "features"}},
      {"negative features", [](G& a) { a.g.input("z", -1); }, {"input z", "features"}},
      {"2^31 features", [](G& a) { a.g.input("z", Index{1} << 31); }, {"input z", "features"}},
      {"a fractional count",
       [](G& a) {
         a.g.append(Operator::input, "z", {}, {{{Key::features, 1.5}}, {}});
       },
       {"input z", "features"}},
      {"NaN", [](G& a) { a.g.scale("z", a.x, std::numeric_limits<double>::quiet_NaN()); }, {"scale z", "by"}},
      {"infinity", [](G& a) { a.g.scale("z", a.x, std::numeric_limits<double>::infinity()); }, {"scale z", "by"}},
      {"negative eps",
       [](G& a) {
         a.g.layer_norm("n", a.x, "", "", {-1e-5, 1});
       },
       {"layer_norm n", "eps"}},
      {"NaN eps",
       [](G& a) {
         a.g.layer_norm("n", a.x, "", "", {std::nan(""), 1});
       },
       {"layer_norm n", "eps"}},
      {"p of 1", [](G& a) { a.g.dropout("d", a.x, 1); }, {"dropout d", "p="}},
      {"negative p", [](G& a) { a.g.drop_path("d", a.x, -0.1); }, {"drop_path d", "p="}},
      {"per_token=2",
       [](G& a) {
         a.g.append(Operator::add_parameter, "p", {a.x}, {{{Key::per_token, 2}}, {{Key::value, "v"}}});
       },
       {"add_parameter p", "per_token"}},
      {"a key of another operator",
       [](G& a) {
         a.g.append(Operator::relu, "r", {a.x}, {{{Key::p, 0.5}}, {}});
       },
       {"relu r", "p"}},
      {"a parameter of another operator",
       [](G& a) {
         a.g.append(Operator::relu, "r", {a.x}, {{}, {{Key::gamma, "g"}}});
       },
       {"relu r", "gamma"}},
      {"a number twice",
       [](G& a) {
         a.g.append(Operator::scale, "z", {a.x}, {{{Key::by, 1}, {Key::by, 1}}, {}});
       },
       {"scale z", "by", "twice"}},
      {"a parameter twice",
       [](G& a) {
         a.g.append(Operator::layer_norm, "n", {a.x}, {{}, {{Key::gamma, "u"}, {Key::gamma, "v"}}});
       },
       {"layer_norm n", "gamma", "twice"}},
      {"no weight", [](G& a) { a.g.linear("l", a.x, 3, ""); }, {"linear l", "weight"}},
      {"no table", [](G& a) { a.g.embedding("f", a.words, 3, ""); }, {"embedding f", "table"}},
      {"no shift", [](G& a) { a.g.batch_norm("n", a.x, "s", ""); }, {"batch_norm n", "shift"}},
      {"even kernel", [](G& a) { a.g.conv("c", a.x, 4, 2, "K"); }, {"conv c", "kernel=2"}},
      {"groups that do not divide the input",
       [](G& a) { a.g.conv("c", a.x, 8, 1, "K", "", 4); },
       {"conv c", "groups=4", "6"}},
      {"groups that do not divide the output",
       [](G& a) { a.g.conv("c", a.x, 4, 1, "K", "", 3); },
       {"conv c", "groups=3", "4"}},
      {"norm groups that do not divide",
       [](G& a) {
         a.g.layer_norm("n", a.x, "", "", {1e-5, 4});
       },
       {"layer_norm n", "groups=4", "6"}},
      {"operands of different features",
       [](G& a) {
         a.g.add("s2", {a.x, a.h});
       },
       {"add s2", "6", "4"}},
      {"concat_tokens of different features",
       [](G& a) {
         a.g.concat_tokens("c", {a.x, a.h});
       },
       {"concat_tokens c", "6", "4"}},
      {"a slice beyond the end", [](G& a) { a.g.slice_features("c", a.x, 4, 3); }, {"slice_features c", "7", "6"}},
      {"a negative slice", [](G& a) { a.g.slice_features("c", a.x, -1, 3); }, {"slice_features c", "start"}},
      {"too many merged features", [](G& a) { a.g.merge_tokens("m", a.x, Index{1} << 30); }, {"merge_tokens m"}},
      {"queries and keys of different features",
       [](G& a) { a.g.attention("t", a.x, a.h, a.x); },
       {"attention t", "6", "4"}},
      {"heads that do not divide the queries",
       [](G& a) { a.g.attention("t", a.x, a.x, a.h, 4); },
       {"attention t", "heads=4", "6"}},
      {"heads that do not divide the values",
       [](G& a) { a.g.attention("t", a.x, a.x, a.h, 3); },
       {"attention t", "heads=3", "4"}},
      {"a weight of another size", [](G& a) { a.g.linear("l", a.x, 5, "W"); }, {"linear l", "W", "5x6", "4x6"}},
      {"a bias that is a weight elsewhere",
       [](G& a) { a.g.linear("l", a.x, 4, "V", "W"); },
       {"linear l", "W", "4x1", "4x6"}},
      {"a head that does not fit transposed", [](G& a) { a.g.linear("l", a.x, 6, "E"); }, {"linear l", "E", "6x10"}},
      {"one token's parameter used per token",
       [](G& a) { a.g.add_token_parameter("p", a.h, "b"); },
       {"add_parameter p", "b"}},
      {"a per-token parameter used for one token",
       [](G& a) { a.g.add_parameter("p", a.x, "q"); },
       {"add_parameter p", "q"}},
      {"one new name in two roles of different sizes",
       [](G& a) { a.g.linear("l", a.x, 3, "new", "new"); },
       {"linear l", "new"}},
  };
  for (Bad const& bad : table) {
    CAPTURE(bad.what);
    Sample sample;
    Graph const before = sample.g;
    std::string message;
    try {
      bad.act(sample);
    } catch (graph_error const& error) {
      message = error.what();
    }
    CHECK(message != "");
    for (std::string const& part : bad.message) CHECK_THAT(message, Contains(part));
    CHECK(sample.g == before);
    CHECK_FALSE(sample.g.find_parameter("new"));
    CHECK(sample.g.input("z", 2) == NodeId{6});  // the next statement is none the worse
  }
}

TEST_CASE("graph: one name in two roles of one size is one parameter with two uses") {
  Graph g;
  NodeId const x = g.input("x", 1);
  NodeId const h = g.linear("h", x, 3, "w", "w");
  CHECK(g.parameters().size() == 1);
  CHECK(described(g, "w").uses == std::vector<ParameterUse>{{h, Key::weight}, {h, Key::bias}});
}

TEST_CASE("graph: an empty parameter name means no such parameter") {
  Graph g;
  NodeId const x = g.input("x", 3);
  CHECK_FALSE(g.node(g.linear("h", x, 3, "W", "")).parameter(Key::bias).present());
  CHECK(g.parameters().size() == 1);
}
