// SPDX-License-Identifier: MIT
// training/paired_training_test.cpp -- training with centered weights and RMSNorm follows LayerNorm's exactly where the
// analysis says that it does, and only there.
#include "catch.hpp"

#include "training/model_testing.hpp"
#include "training/networks.hpp"
#include "training/optimizer.hpp"
#include "training/paired_training.hpp"
#include "training/text_data.hpp"
#include "training/trainer.hpp"

#include <functional>
#include <string>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

constexpr Index tokens = 4, inputs = 6, batch_size = 12;

// Random numbers in classes.
struct RandomSamples {
  M values;
  std::vector<int> labels;
  Index size() const { return values.cols(); }
};
void load_samples(RandomSamples const& data, std::span<Index const> chosen, Samples<double>& samples) {
  samples.inputs.resize(data.values.rows(), static_cast<Index>(chosen.size()));
  samples.labels.clear();
  for (std::size_t j = 0; j < chosen.size(); ++j) {
    samples.inputs.col(static_cast<Index>(j)) = data.values.col(chosen[j]);
    samples.labels.push_back(data.labels[static_cast<std::size_t>(chosen[j])]);
  }
}
RandomSamples random_samples(Index rows) {
  std::mt19937_64 random(1);
  RandomSamples data{random_normal(rows, 60, random), {}};
  for (int j = 0; j < 60; ++j) data.labels.push_back(j % 3);
  return data;
}

using MakeOptimizer = PairedTraining<double>::MakeOptimizer;

struct NamedOptimizer {
  std::string name;
  MakeOptimizer make;
};
std::vector<NamedOptimizer> optimizers() {
  using Values = NamedMatrices<double>;
  return {{"SGD", [](Values const& p) { return AnyOptimizer<double>(Sgd<double>(p)); }},
          {"Adam", [](Values const& p) { return AnyOptimizer<double>(AdamW<double>(p, {.decay = 0})); }},
          {"AdamW", [](Values const& p) { return AnyOptimizer<double>(AdamW<double>(p)); }}};
}

// How far apart the parameters are after so many steps.
template <class Data>
double distance(NormPair const& pair, std::vector<Centering> const& centerings, NamedMatrices<double> const& start,
                MakeOptimizer const& make, Data const& data, int steps) {
  PairedTraining<double> plain(pair, {}, make, start, 7), centered(pair, centerings, make, start, 7);
  BatchOrder const order(data.size(), batch_size, 8);
  for (int step = 0; step < steps; ++step) {
    for (auto* const training : {&plain, &centered}) training->step(data, order.batch(step), .01);
  }
  REQUIRE(parameter_distance(start, plain.stored()) > 1e-3);  // went somewhere
  return parameter_distance(plain.stored(), centered.stored());
}

constexpr double same_path = 1e-10;
constexpr double other_path = 1e-6;

NormPair pair_of(std::function<Graph(NormKind)> const& build, GraphNetworkOptions const& options) {
  return {build(NormKind::layer_norm), build(NormKind::rms_norm), options};
}

// How far weights that are centered in place are from those of a LayerNorm training, centered.
template <class Data>
double distance_in_place(NormPair const& pair, NamedMatrices<double> const& start, MakeOptimizer const& make,
                         Data const& data, int steps) {
  std::vector<Centering> const centerings = pair.centerings();
  PairedTraining<double> plain(pair, {}, make, start, 7);
  PairedTraining<double> in_place(pair, centerings, make, start, 7, worker_count, Stored::in_place);
  BatchOrder const order(data.size(), batch_size, 8);
  for (int step = 0; step < steps; ++step) {
    for (auto* const training : {&plain, &in_place}) training->step(data, order.batch(step), .01);
  }
  NamedMatrices<double> centered = plain.stored();
  for (Centering const& centering : centerings) {
    Matrix<double>& v = centered.at(centering.parameter);
    center_parts(centering.parts, v, v);
  }
  return parameter_distance(centered, in_place.stored());
}

// A stream of 6 -> 8 features, what `between` adds to it, a norm, a head.
NormPair stream(std::function<NodeId(Graph&, NodeId)> const& between) {
  return pair_of(
      [&](NormKind kind) {
        NetworkBuilder b(kind);
        NodeId const h = between(b.graph, b.linear("fc", b.graph.input("x", inputs), 8));
        b.graph.output("y", b.linear("head", b.graph.relu("act", b.norm("norm", h)), 3));
        return b.graph;
      },
      {});
}

}  // namespace

TEST_CASE("PairedTraining: 20 steps of each optimizer on each network that folds are LayerNorm's") {
  RandomSamples const data = random_samples(tokens * inputs);
  TransformerSizes const sizes{
      .inputs = inputs, .tokens = tokens, .features = 8, .heads = 2, .hidden = 12, .classes = 3, .drop_path = .3};
  std::vector<NormPair> const pairs{
      pair_of(
          [](NormKind kind) {
            return mlp_graph({tokens * inputs, {10, 8}, 3}, kind);
          },
          {}),
      pair_of([&](NormKind kind) { return transformer_graph(sizes, kind); }, {.tokens = tokens}),
      pair_of(
          [](NormKind kind) {
            return recurrent_graph({tokens, inputs, 8, 3}, kind);
          },
          {})};
  for (NormPair const& pair : pairs) {
    for (NamedOptimizer const& optimizer : optimizers()) {
      CAPTURE(optimizer.name, pair.layer_norm.nodes().size());
      CHECK(distance(pair, pair.centerings(), pair.start<double>(2), optimizer.make, data, 20) <= same_path);
      CHECK(distance_in_place(pair, pair.start<double>(2), optimizer.make, data, 20) <= same_path);
    }
  }
}

TEST_CASE("PairedTraining: a language model's stream of text, table and positions") {
  std::string text;
  for (int i = 0; i < 61; ++i) text += static_cast<char>('a' + i * i % 7);
  Text const split = split_text(text, tokens, 0);
  Index const letters = static_cast<Index>(split.alphabet.size());
  TransformerSizes const sizes{.inputs = letters,
                               .tokens = tokens,
                               .features = 8,
                               .heads = 2,
                               .hidden = 12,
                               .classes = letters,
                               .reads_text = true};
  NormPair const pair =
      pair_of([&](NormKind kind) { return transformer_graph(sizes, kind); }, {.tokens = tokens, .causal = true});
  CHECK(distance(pair, pair.centerings(), pair.start<double>(2), optimizers()[0].make, split.train, 20) <= same_path);
}

// Each operator that inference and training judge apart: what follows from folding as at inference, and what the
// analysis of the training says.
TEST_CASE("find_foldable_norms for training agrees with trainings") {
  struct Case {
    std::string name;
    NormPair pair;
    bool folds;
  };
  std::vector<Case> const cases{
      {"nothing between", stream([](Graph&, NodeId h) { return h; }), true},
      {"dropout", stream([](Graph& g, NodeId h) { return g.dropout("between", h, .5); }), false},
      {"dropout of nothing", stream([](Graph& g, NodeId h) { return g.dropout("between", h, 0); }), true},
      {"stochastic depth", stream([](Graph& g, NodeId h) { return g.drop_path("between", h, .5); }), true},
      {"per-channel scale", stream([](Graph& g, NodeId h) { return g.scale_channels("between", h, "s"); }), false},
      {"batch norm", stream([](Graph& g, NodeId h) { return g.batch_norm("between", h, "s", "t"); }), false},
      {"norm with gamma and beta",
       stream([](Graph& g, NodeId h) { return g.layer_norm("between", h, "between.gamma", "between.beta"); }), false},
      {"norm without", stream([](Graph& g, NodeId h) { return g.layer_norm("between", h); }), true},
      {"also read by an activation", stream([](Graph& g, NodeId h) {
         NodeId const act = g.relu("between", h);
         g.linear("beside", act, 8, "beside.weight");
         return h;
       }),
       false},
  };
  RandomSamples const data = random_samples(inputs);
  for (Case const& tried : cases) {
    CAPTURE(tried.name);
    NamedMatrices<double> start = tried.pair.start<double>(3);
    for (auto& [name, value] : start) {  // what happens to be true of values at the start
      if (name.starts_with("fc.")) center(value, MatrixRef<double>(value));
    }
    Parameters parameters;
    for (auto const& [name, value] : start) parameters.set(name, value);
    FoldReport const inference = find_foldable_norms(tried.pair.layer_norm, {.parameters = &parameters});
    REQUIRE(inference.norms.back().folds());
    FoldReport const training = find_foldable_norms(tried.pair.layer_norm, {.mode = FoldMode::training});
    CHECK(training.norms.back().folds() == tried.folds);
    // In a training the norm is an rms_norm, as inference would have it.
    std::vector<Centering> centerings = tried.folds ? training.centerings : inference.centerings;
    std::erase_if(centerings, [](Centering const& c) { return !c.parameter.starts_with("fc."); });
    double const apart = distance(tried.pair, centerings, start, optimizers()[0].make, data, 5);
    CHECK((tried.folds ? apart <= same_path : apart >= other_path));
  }
}

TEST_CASE("NormPair: refuses to center where the training would not be LayerNorm's") {
  NormPair const pair = stream([](Graph& g, NodeId h) { return g.dropout("between", h, .5); });
  CHECK_THROWS_WITH(pair.centerings(), Catch::Contains("norm does not fold in training"));
}

TEST_CASE("split_text, load_samples: every label is the next character") {
  Text const text = split_text("banana band", 3, .3);
  CHECK(text.alphabet == " abdn");
  CHECK(text.train.ids.size() == 7);
  CHECK(text.train.size() == 2);
  Samples<float> samples;
  std::vector<Index> const chosen{1, 0};
  load_samples(text.train, chosen, samples);
  CHECK(samples.inputs.col(0) == Vector<float>{{1, 4, 1}});
  CHECK(samples.inputs.col(1) == Vector<float>{{2, 1, 4}});
  CHECK(samples.labels == std::vector<int>{4, 1, 0, 1, 4, 1});
  CHECK(split_text("", 3, 0).train.size() == 0);
  CHECK_THROWS_WITH(read_text("/nowhere"), Catch::Contains("no text there"));
}
