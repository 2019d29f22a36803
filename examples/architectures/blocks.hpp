// SPDX-License-Identifier: MIT
// architectures/blocks.hpp -- the blocks that transformers are built of, as layer graphs: short functions to copy.
//
// Each takes the graph, a name and the value that it continues, and returns its result. Parameters are called after
// their node: NAME.weight, NAME.bias, NAME.gamma, NAME.beta. The graphs are those of inference, without dropout. What
// never touches a stream of features is left out: rotations and masks of queries and keys, attention's windows.
#pragma once

#include <foldnorm/graph/graph.hpp>

#include <string>

namespace foldnorm::architectures {

struct BlockSizes {
  Index width = 768;  // features of the stream
  Index heads = 12;
  Index hidden = 3072;  // features between the two layers of the MLP
};

using Activation = NodeId (Graph::*)(std::string, NodeId);

inline NodeId linear(Graph& g, std::string const& name, NodeId x, Index out) {
  return g.linear(name, x, out, name + ".weight", name + ".bias");
}
inline NodeId linear_without_bias(Graph& g, std::string const& name, NodeId x, Index out) {
  return g.linear(name, x, out, name + ".weight");
}
inline NodeId layer_norm(Graph& g, std::string const& name, NodeId x) {
  return g.layer_norm(name, x, name + ".gamma", name + ".beta");
}
// A table of `vocab` vectors, looked up.
inline NodeId embedding(Graph& g, std::string const& name, Index vocab, Index width) {
  return g.embedding(name, g.ids(name + ".ids", vocab), width, name + ".table");
}
// One learned vector as a token of its own (a class token), however many tokens the other inputs have.
inline NodeId learned_token(Graph& g, std::string const& name, Index width) {
  return g.mean_tokens(name, embedding(g, name + ".vector", 1, width));
}

// From the tokens of `x` on those of `memory` (x itself: self-attention), with its output projection.
inline NodeId attention(Graph& g, std::string const& name, NodeId x, NodeId memory, BlockSizes const& sizes) {
  NodeId const queries = linear(g, name + ".query", x, sizes.width);
  NodeId const keys = linear(g, name + ".key", memory, sizes.width);
  NodeId const values = linear(g, name + ".value", memory, sizes.width);
  NodeId const mixed = g.attention(name + ".heads", queries, keys, values, sizes.heads);
  return linear(g, name + ".out", mixed, sizes.width);
}

inline NodeId mlp(Graph& g, std::string const& name, NodeId x, BlockSizes const& sizes,
                  Activation activation = &Graph::gelu) {
  NodeId const hidden = (g.*activation)(name + ".activation", linear(g, name + ".up", x, sizes.hidden));
  return linear(g, name + ".down", hidden, sizes.width);
}

// LN in front of each branch (GPT-2, ViT). Every norm reads the stream, which only linear layers write.
inline NodeId pre_norm_block(Graph& g, std::string const& name, NodeId x, BlockSizes const& sizes,
                             Activation activation = &Graph::gelu) {
  NodeId const n1 = layer_norm(g, name + ".ln1", x);
  x = g.add(name + ".add1", {x, attention(g, name + ".attention", n1, n1, sizes)});
  NodeId const n2 = layer_norm(g, name + ".ln2", x);
  return g.add(name + ".add2", {x, mlp(g, name + ".mlp", n2, sizes, activation)});
}

// LN behind each sum (BERT, the original Transformer). The stream is a norm's output and feeds linear layers.
inline NodeId post_norm_block(Graph& g, std::string const& name, NodeId x, BlockSizes const& sizes,
                              Activation activation = &Graph::gelu) {
  NodeId const a = attention(g, name + ".attention", x, x, sizes);
  x = layer_norm(g, name + ".ln1", g.add(name + ".add1", {x, a}));
  NodeId const m = mlp(g, name + ".mlp", x, sizes, activation);
  return layer_norm(g, name + ".ln2", g.add(name + ".add2", {x, m}));
}

// LN at the end of each branch (Swin-V2): every norm directly follows a linear layer.
inline NodeId branch_norm_block(Graph& g, std::string const& name, NodeId x, BlockSizes const& sizes) {
  NodeId const a = layer_norm(g, name + ".ln1", attention(g, name + ".attention", x, x, sizes));
  x = g.add(name + ".add1", {x, a});
  return g.add(name + ".add2", {x, layer_norm(g, name + ".ln2", mlp(g, name + ".mlp", x, sizes))});
}

// Attention and MLP side by side behind one norm (Phi).
inline NodeId parallel_block(Graph& g, std::string const& name, NodeId x, BlockSizes const& sizes) {
  NodeId const n = layer_norm(g, name + ".ln", x);
  return g.add(name + ".add", {x, attention(g, name + ".attention", n, n, sizes), mlp(g, name + ".mlp", n, sizes)});
}

// A pre-norm block whose branches end in a learned scale per channel (LayerScale: DINOv2).
inline NodeId layer_scale_block(Graph& g, std::string const& name, NodeId x, BlockSizes const& sizes) {
  NodeId const n1 = layer_norm(g, name + ".ln1", x);
  NodeId const a = attention(g, name + ".attention", n1, n1, sizes);
  x = g.add(name + ".add1", {x, g.scale_channels(name + ".scale1", a, name + ".scale1")});
  NodeId const m = mlp(g, name + ".mlp", layer_norm(g, name + ".ln2", x), sizes);
  return g.add(name + ".add2", {x, g.scale_channels(name + ".scale2", m, name + ".scale2")});
}

}  // namespace foldnorm::architectures
