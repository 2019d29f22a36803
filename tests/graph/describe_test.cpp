// SPDX-License-Identifier: MIT
#include <foldnorm/graph/describe.hpp>

#include <foldnorm/graph/dot.hpp>
#include <foldnorm/graph/evaluate.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/text.hpp>

#include <sstream>

#include "catch.hpp"
#include "graph/graph_testing.hpp"
#include "laws/inputs.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;
using laws::normal;

Sequential<double> chain() {
  Sequential<double> network;
  network.append(Linear<double>(normal<double>(6, 3, 1), normal<double>(6, 1, 2)));
  network.append(LayerNorm<double>(6));
  network.append(Activation<double>(6, ActivationKind::tanh));
  network.append(Linear<double>(normal<double>(8, 6, 3), normal<double>(8, 1, 4)));
  network.append(ParallelLayerNorm<double>(8, 4, {.eps = .1, .affine = false}));
  network.append(RMSNorm<double>(8));
  network.append(Activation<double>(8, ActivationKind::sigmoid));
  network.append(Activation<double>(8, ActivationKind::relu));
  return network;
}

}  // namespace

TEST_CASE("describe: the graph computes what the chain computes") {
  Sequential<double> const network = chain();
  DescribedNetwork const described = describe(network);
  Matrix<double> const x = normal<double>(3, 5, 9);
  Matrix<double> const y = evaluate<double>(described.graph, described.parameters, {{"x", x}}).at("y");
  CHECK((y - network.forward(x)).cwiseAbs().maxCoeff() <= 1e-13);
}

TEST_CASE("describe: names, groups and what folds can be read") {
  DescribedNetwork const described = describe(chain());
  std::ostringstream text;
  text << described.graph;
  CHECK(text.str() ==
        "input x features=3\n"
        "linear linear1 x out=6 weight=linear1.weight bias=linear1.bias\n"
        "layer_norm layer_norm2 linear1 gamma=layer_norm2.gamma beta=layer_norm2.beta\n"
        "tanh tanh3 layer_norm2\n"
        "linear linear4 tanh3 out=8 weight=linear4.weight bias=linear4.bias\n"
        "layer_norm layer_norm5 linear4 eps=0.1 groups=2\n"
        "rms_norm rms_norm6 layer_norm5 gamma=rms_norm6.gamma beta=rms_norm6.beta\n"
        "sigmoid sigmoid7 rms_norm6\n"
        "relu relu8 sigmoid7\n"
        "output y relu8\n");
  CHECK(find_foldable_norms(described.graph).folds() == 2);
}

TEST_CASE("describe: a (p,q)-norm is opaque; no layers throw") {
  Sequential<double> network;
  CHECK_THROWS_AS(describe(network), std::invalid_argument);
  network.append(PqNorm<double>(4, 2));
  CHECK(describe(network).graph.nodes()[1].op == Operator::opaque);
}
