// SPDX-License-Identifier: MIT
// tests/graph/random_values_test.cpp -- random parameters and inputs: they fit, they repeat, and they are generic.
#include <foldnorm/graph/random_values.hpp>

#include "graph/graph_testing.hpp"

#include "catch.hpp"

#include <cmath>
#include <string>

using namespace foldnorm;
using namespace foldnorm::testing;

namespace {

char const* const sample = R"(
  input x features=8
  ids i vocab=7
  embedding e i features=8 table=E
  add_parameter pos e value=P per_token=1
  merge_tokens m pos ratio=2
  add_parameter pos2 m value=P2 per_token=1
  linear h x out=40 weight=W bias=b
  scale_channels s h value=s
  batch_norm bn s scale=u shift=t
  layer_norm n bn gamma=g beta=c
  output y n
  output z pos2
)";

bool same_bits(Parameters const& a, Parameters const& b) {
  if (a.size() != b.size()) return false;
  for (auto const& [name, value] : a) {
    if (a.get<double>(name) != b.get<double>(name)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("random_values: fit the graph, also behind a merge of tokens") {
  Graph const g = graph_of(sample);
  Parameters const p = random_parameters(g, 6, 1);
  CHECK(p.size() == g.parameters().size());
  CHECK(p.as<double>("P").cols() == 6);
  CHECK(p.as<double>("P2").cols() == 3);
  NamedValues const in = random_inputs(g, 6, 1);
  CHECK(in.size() == 2);
  CHECK_NOTHROW(evaluate(g, p, in));
}

TEST_CASE("random_values: a seed repeats, another one does not") {
  Graph const g = graph_of(sample);
  CHECK(same_bits(random_parameters(g, 6, 5), random_parameters(g, 6, 5)));
  CHECK_FALSE(same_bits(random_parameters(g, 6, 5), random_parameters(g, 6, 6)));
  CHECK(random_inputs(g, 6, 5) == random_inputs(g, 6, 5));
  CHECK_FALSE(random_inputs(g, 6, 5) == random_inputs(g, 6, 6));
}

TEST_CASE("random_values: are the same on every platform") {
  // From the definition of mt19937_64 (its 10000th output is in the standard): first output of seed 5489, top 53 bits,
  // to [-sqrt 3, sqrt 3).
  Graph g;
  g.input("x", 1);
  double const unit = static_cast<double>(14514284786278117030ULL >> 11) * 0x1p-53;
  double const expected = std::sqrt(3.0) * (2 * unit - 1);
  CHECK(random_inputs(g, 1, 5489).at("x")(0, 0) == expected);
}

TEST_CASE("random_values: are generic, so that a fold that relies on luck fails") {
  Parameters const p = random_parameters(graph_of(sample), 6, 3);
  auto const mean = [&](char const* name) { return std::abs(p.as<double>(name).mean()); };
  CHECK(mean("b") > 1e-3);
  CHECK(mean("c") > 1e-3);
  CHECK(p.as<double>("W").colwise().mean().cwiseAbs().minCoeff() > 1e-6);
  for (char const* gain : {"g", "s", "u"}) {
    Matrix<double> const value = p.as<double>(gain);
    CHECK(value.minCoeff() > 0.4);
    CHECK(value.maxCoeff() < 1.6);
    CHECK(value.maxCoeff() - value.minCoeff() > 0.1);
  }
}

TEST_CASE("random_values: ids are integers below the vocabulary, and use most of it") {
  Graph g;
  g.ids("i", 7);
  Matrix<double> const ids = random_inputs(g, 500, 1).at("i");
  CHECK(ids.rows() == 1);
  CHECK(ids.minCoeff() == 0);
  CHECK(ids.maxCoeff() == 6);
  CHECK(ids == ids.array().floor().matrix());
}

TEST_CASE("random_values: activations stay near unit size through a deep network") {
  std::string text = "input x features=32\nlinear h0 x out=32 weight=W0 bias=b0\n";
  for (int k = 1; k < 30; ++k) {
    std::string const i = std::to_string(k);
    text += "linear h" + i + " h" + std::to_string(k - 1) + " out=32 weight=W" + i + "\n";
  }
  Graph const g = graph_of(text + "output y h29\n");
  Matrix<double> const y = evaluate(g, random_parameters(g, 8, 2), random_inputs(g, 8, 2)).at("y");
  double const size = std::sqrt(y.array().square().mean());
  // Each layer multiplies the expected square by 1; 30 layers of 32 leave a factor of a few.
  CHECK(size > 1e-2);
  CHECK(size < 1e2);
}
