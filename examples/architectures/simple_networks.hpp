// SPDX-License-Identifier: MIT
// architectures/simple_networks.hpp -- a multilayer perceptron, and recurrent cells, unrolled: the same parameter
// names in every step. A token is a sample here.
#pragma once

#include "blocks.hpp"

#include <foldnorm/graph/graph.hpp>

#include <optional>
#include <string>

namespace foldnorm::architectures {

struct MlpSizes {
  Index layers = 8;
  Index width = 64;
  Index inputs = 64;
  Index outputs = 10;
};

// Linear, LayerNorm, ReLU, again and again: all of it folds.
inline Graph norm_mlp(MlpSizes const& sizes) {
  Graph g;
  NodeId x = g.input("x", sizes.inputs);
  for (Index i = 0; i < sizes.layers; ++i) {
    std::string const name = "layer" + std::to_string(i);
    x = g.relu(name + ".relu", layer_norm(g, name + ".ln", linear(g, name, x, sizes.width)));
  }
  g.output("y", linear(g, "head", x, sizes.outputs));
  return g;
}

struct RecurrentSizes {
  Index steps = 5;
  Index inputs = 64;
  Index width = 128;
  Index outputs = 10;
};

// h' = tanh(LN(W x + U h + b)), from h = 0 (Ba, Kiros & Hinton 2016, arXiv:1607.06450).
inline Graph ln_rnn(RecurrentSizes const& sizes) {
  Graph g;
  std::optional<NodeId> h;
  for (Index t = 0; t < sizes.steps; ++t) {
    std::string const name = "step" + std::to_string(t);
    NodeId sum = g.linear(name + ".input", g.input(name + ".x", sizes.inputs), sizes.width, "W", "b");
    if (h) sum = g.add(name + ".sum", {sum, g.linear(name + ".state", *h, sizes.width, "U")});
    h = g.tanh(name + ".h", g.layer_norm(name + ".ln", sum, "gamma", "beta"));
  }
  g.output("y", linear(g, "head", *h, sizes.outputs));
  return g;
}

// LSTM whose gates are LN(W x) + LN(U h) + b and whose output is o tanh(LN(c)) (as above). The gates' norms follow
// linear layers; the cell state is a sum of products.
inline Graph ln_lstm(RecurrentSizes const& sizes) {
  Graph g;
  std::optional<NodeId> h, c;
  for (Index t = 0; t < sizes.steps; ++t) {
    std::string const name = "step" + std::to_string(t);
    NodeId const from_x = g.linear(name + ".input", g.input(name + ".x", sizes.inputs), 4 * sizes.width, "W");
    NodeId gates = g.layer_norm(name + ".ln_input", from_x, "gamma_input", "beta_input");
    if (h) {
      NodeId const from_h = g.linear(name + ".state", *h, 4 * sizes.width, "U");
      gates = g.add(name + ".sum", {gates, g.layer_norm(name + ".ln_state", from_h, "gamma_state", "beta_state")});
    }
    gates = g.add_parameter(name + ".gates", gates, "b");
    auto const part = [&](char const* gate, Index number) {
      return g.slice_features(name + gate, gates, number * sizes.width, sizes.width);
    };
    NodeId const in = g.sigmoid(name + ".in", part(".in.sum", 0));
    NodeId const keep = g.sigmoid(name + ".keep", part(".keep.sum", 1));
    NodeId const out = g.sigmoid(name + ".out", part(".out.sum", 2));
    NodeId const fresh = g.multiply(name + ".fresh", in, g.tanh(name + ".candidate", part(".candidate.sum", 3)));
    // The first step has no state to keep; its gate is read all the same, so that every step is alike.
    c = g.add(name + ".c", {fresh, g.multiply(name + ".kept", keep, c ? *c : g.scale(name + ".zero", fresh, 0))});
    NodeId const normalized = g.layer_norm(name + ".ln_cell", *c, "gamma_cell", "beta_cell");
    h = g.multiply(name + ".h", out, g.tanh(name + ".tanh", normalized));
  }
  g.output("y", linear(g, "head", *h, sizes.outputs));
  return g;
}

}  // namespace foldnorm::architectures
