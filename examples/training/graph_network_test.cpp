// SPDX-License-Identifier: MIT
// training/graph_network_test.cpp -- networks from layer graphs: against the reference interpreter, against central
// differences, with dropout and stochastic depth, and trained with centered weights.
#include "catch.hpp"
#include "graph/instances.hpp"

#include <foldnorm/graph/evaluate.hpp>

#include "training/fold_model.hpp"
#include "training/graph_network.hpp"
#include "training/initial_parameters.hpp"
#include "training/model_testing.hpp"

#include <random>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

constexpr Index sample_tokens = 4;

// Every operator that can be trained; p: of dropout and stochastic depth.
Graph every_operator(double p) {
  Graph g;
  NodeId h = g.linear("patch", g.input("x", 3), 8, "patch.weight");
  h = g.add_token_parameter("placed", g.add_parameter("shifted", h, "shift"), "positions");
  NodeId const qkv = g.linear("qkv", g.layer_norm("norm1", h, "norm1.gamma", "norm1.beta", {.groups = 2}), 24,
                              "qkv.weight", "qkv.bias");
  NodeId const mixed = g.attention("mixed", g.slice_features("q", qkv, 0, 8), g.slice_features("k", qkv, 8, 8),
                                   g.slice_features("v", qkv, 16, 8), 2);
  NodeId const branch =
      g.scale_channels("scaled", g.linear("project", mixed, 8, "project.weight", "project.bias"), "s");
  h = g.add("h", {h, g.drop_path("path", branch, p), g.identity("same", h)});
  NodeId const gate = g.sigmoid("gate", g.linear("gates", g.center("centered", h), 8, "gates.weight", "gates.bias"));
  h = g.dropout("dropped", g.multiply("gated", g.tanh("squashed", h), gate), p);
  h = g.linear("reduce", g.layer_norm("norm2", g.merge_tokens("merged", h, 2)), 6, "reduce.weight");
  h = g.batch_norm("fixed", h, "fixed.scale", "fixed.shift");
  h = g.relu("rectified", g.rms_norm("norm3", h, "norm3.gamma", "norm3.beta", {.eps = 1e-3}));
  g.output("logits", g.linear("head", g.mean_tokens("pooled", h), 5, "head.weight", "head.bias"));
  return g;
}

GraphNetwork<double> scattered(Graph const& graph, unsigned seed,
                               GraphNetworkOptions options = {.tokens = sample_tokens}) {
  std::mt19937_64 random(seed);
  NamedMatrices<double> parameters = initial_parameters<double>(graph, random, options.tokens);
  scatter(parameters, random);
  return {graph, parameters, options};
}

// Of a character-level model: ids in, a prediction for every token out.
Graph language_model() {
  Graph g;
  NodeId const h = g.embedding("embedded", g.ids("text", 7), 8, "table");
  NodeId const n = g.layer_norm("norm", h, "norm.gamma", "norm.beta");
  NodeId const mixed =
      g.attention("mixed", g.linear("q", n, 8, "q.weight", "q.bias"), g.linear("k", n, 8, "k.weight", "k.bias"),
                  g.linear("v", n, 8, "v.weight", "v.bias"));
  g.output("logits", g.linear("head", g.add("sum", {h, mixed}), 7, "head.weight", "head.bias"));
  return g;
}

M text(Index samples) {
  M ids(1, sample_tokens * samples);
  for (Index j = 0; j < ids.size(); ++j) ids(j) = static_cast<double>((3 * j + j / 4) % 7);
  return ids;
}

}  // namespace

TEST_CASE("GraphNetwork: computes what the reference interpreter does, each sample of a batch by itself") {
  std::mt19937_64 random(1);
  GraphNetwork<double> const network = scattered(every_operator(.5), 2);
  M const x = random_normal(3, 3 * sample_tokens, random);
  GraphNetwork<double>::Activations activations;
  M const y = network.forward(x, activations, Pass::inference);
  Parameters const parameters = to_parameters<double>(network.parameters);
  for (Index j = 0; j < 3; ++j) {
    M const sample = x.middleCols(j * sample_tokens, sample_tokens);
    check_close(y.col(j), evaluate(network.describe(), parameters, {{"x", sample}}).at("logits"), graph_tolerance);
  }
}

TEST_CASE("GraphNetwork: gradients equal central differences, with random factors from a seed too") {
  double const p = GENERATE(0., .4);
  GraphNetwork<double> network = scattered(every_operator(p), 3);
  std::mt19937_64 random(4);
  check_model_gradients(network, random_normal(3, 3 * sample_tokens, random), {0, 4, 2});
}

TEST_CASE("GraphNetwork: reads text, and gradients equal central differences, causal or not") {
  GraphNetworkOptions const options{.tokens = sample_tokens, .causal = GENERATE(false, true)};
  GraphNetwork<double> network = scattered(language_model(), 5, options);
  check_model_gradients(network, text(2), {0, 1, 2, 3, 4, 5, 6, 0});
  GraphNetwork<double>::Activations activations;
  M x = text(2);
  M const before = network.forward(x, activations);
  x(3) = 0;  // the last token of the first sample
  M const after = network.forward(x, activations);
  CHECK((before.leftCols(3) == after.leftCols(3)) == options.causal);
  CHECK(before.rightCols(4) == after.rightCols(4));
}

TEST_CASE("GraphNetwork: dropout zeroes values, stochastic depth whole samples, and neither at inference") {
  Graph g;
  NodeId const x = g.input("x", 50);
  g.output("y", g.drop_path("path", g.dropout("dropped", x, .25), .5));
  GraphNetwork<float> const network(g, {}, {.tokens = 2});
  GraphNetwork<float>::Activations a;
  a.random.seed(6);
  Matrix<float> const ones = Matrix<float>::Ones(50, 400);
  Matrix<float> const y = network.forward(ones, a);
  Index paths = 0;
  for (Index j = 0; j < 200; ++j) paths += !y.middleCols(2 * j, 2).isZero(0);
  // Five deviations: 7 of 200 fair coins, and .0058 of the mean of 10,000 factors of deviation .58.
  CHECK(std::abs(paths - 100) <= 5 * 7);
  CHECK(std::abs(y.mean() - static_cast<float>(paths) / 100) <= 5 * .0058f * 2);
  CHECK(((y.array() == 0) || (y.array() == 2 / .75f)).all());
  a.random.seed(6);
  CHECK(network.forward(ones, a) == y);
  CHECK(network.forward(ones, a, Pass::inference) == ones);
}

TEST_CASE("GraphNetwork: refuses graphs and parameters that do not go together, by name") {
  Graph g;
  NodeId const x = g.input("x", 3);
  g.output("y", g.layer_norm("norm", x, "gain", "beta"));
  CHECK_THROWS_WITH(GraphNetwork<float>(g, {}), Catch::Contains("norm: there is no parameter gain"));
  NamedMatrices<float> values{{"gain", Matrix<float>::Ones(3, 1)}, {"beta", Matrix<float>::Zero(3, 1)}};
  CHECK_THROWS_WITH(GraphNetwork<float>(g, values), Catch::Contains("called PREFIX.gamma"));
  values["gain"].setOnes(2, 1);
  CHECK_THROWS_WITH(GraphNetwork<float>(g, values), Catch::Contains("gain is of another size"));
  Graph two;
  two.output("y", two.gelu("act", two.input("x", 3)));
  CHECK_THROWS_WITH(GraphNetwork<float>(two, {}), Catch::Contains("act: cannot be trained here"));
  Graph no_output;
  no_output.input("x", 3);
  CHECK_THROWS_AS(GraphNetwork<float>(no_output, {}), std::invalid_argument);
}
