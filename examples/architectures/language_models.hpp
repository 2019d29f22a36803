// SPDX-License-Identifier: MIT
// architectures/language_models.hpp -- models of text as layer graphs: `logits` of every token out of token ids.
#pragma once

#include "blocks.hpp"

#include <foldnorm/graph/graph.hpp>

#include <string>

namespace foldnorm::architectures {

struct LanguageModelSizes {
  Index layers = 12;
  BlockSizes block{};
  Index vocab = 50257;
};

// Whether the head multiplies by the token table itself, or by a weight of its own.
enum class Head { tied, untied };

// A head with the token table's name is the same storage: its transpose.
inline void output_logits(Graph& g, NodeId x, Index vocab, Head head) {
  g.output("logits", g.linear("head", x, vocab, head == Head::tied ? "tokens.table" : "head.weight"));
}

// Token and position tables.
inline NodeId embedded_tokens(Graph& g, LanguageModelSizes const& sizes) {
  return g.add_token_parameter("positions", embedding(g, "tokens", sizes.vocab, sizes.block.width), "positions.table");
}

// GPT-2 (Radford et al. 2019), and OPT (arXiv:2205.01068) with ReLU.
inline Graph gpt2(LanguageModelSizes const& sizes, Activation activation = &Graph::gelu, Head head = Head::tied) {
  Graph g;
  NodeId x = embedded_tokens(g, sizes);
  for (Index i = 0; i < sizes.layers; ++i) {
    x = pre_norm_block(g, "block" + std::to_string(i), x, sizes.block, activation);
  }
  output_logits(g, layer_norm(g, "ln_final", x), sizes.vocab, head);
  return g;
}

// OPT-350m: post-norm, with a table narrower than the stream and no final norm.
inline Graph opt_post_norm(LanguageModelSizes const& sizes, Index table_width) {
  Graph g;
  NodeId x = linear_without_bias(g, "project_in", embedding(g, "tokens", sizes.vocab, table_width), sizes.block.width);
  x = g.add_token_parameter("positions", x, "positions.table");
  for (Index i = 0; i < sizes.layers; ++i) {
    x = post_norm_block(g, "block" + std::to_string(i), x, sizes.block, &Graph::relu);
  }
  output_logits(g, linear_without_bias(g, "project_out", x, table_width), sizes.vocab, Head::tied);
  return g;
}

// Phi-1.5 and Phi-2 (arXiv:2309.05463): parallel blocks, positions by rotation, an untied head.
inline Graph phi(LanguageModelSizes const& sizes) {
  Graph g;
  NodeId x = embedding(g, "tokens", sizes.vocab, sizes.block.width);
  for (Index i = 0; i < sizes.layers; ++i) x = parallel_block(g, "block" + std::to_string(i), x, sizes.block);
  output_logits(g, layer_norm(g, "ln_final", x), sizes.vocab, Head::untied);
  return g;
}

// BLOOM (arXiv:2211.05100): a LayerNorm right behind the embedding starts the stream.
inline Graph bloom(LanguageModelSizes const& sizes, Head head = Head::tied) {
  Graph g;
  NodeId x = layer_norm(g, "ln_tokens", embedding(g, "tokens", sizes.vocab, sizes.block.width));
  for (Index i = 0; i < sizes.layers; ++i) x = pre_norm_block(g, "block" + std::to_string(i), x, sizes.block);
  output_logits(g, layer_norm(g, "ln_final", x), sizes.vocab, head);
  return g;
}

// The text tower of CLIP (arXiv:2103.00020): pre-norm, x sigmoid(1.702 x), an embedding of every token out.
inline Graph clip_text(LanguageModelSizes const& sizes) {
  Graph g;
  NodeId x = embedded_tokens(g, sizes);
  for (Index i = 0; i < sizes.layers; ++i) x = pre_norm_block(g, "block" + std::to_string(i), x, sizes.block);
  g.output("embedding", linear_without_bias(g, "project", layer_norm(g, "ln_final", x), sizes.block.width));
  return g;
}

// BERT (arXiv:1810.04805) with the head that predicts masked words.
inline Graph bert(LanguageModelSizes const& sizes) {
  Graph g;
  NodeId x = embedded_tokens(g, sizes);
  x = layer_norm(g, "ln_embedding", g.add("embedding", {x, embedding(g, "segments", 2, sizes.block.width)}));
  for (Index i = 0; i < sizes.layers; ++i) x = post_norm_block(g, "block" + std::to_string(i), x, sizes.block);
  x = g.gelu("transform.activation", linear(g, "transform", x, sizes.block.width));
  output_logits(g, layer_norm(g, "ln_head", x), sizes.vocab, Head::tied);
  return g;
}

// Attention Is All You Need (arXiv:1706.03762): an encoder and a decoder, post-norm.
inline Graph transformer(LanguageModelSizes const& sizes) {
  Graph g;
  BlockSizes const& block = sizes.block;
  NodeId memory = embedding(g, "source", sizes.vocab, block.width);
  memory = g.add_token_parameter("source_positions", memory, "source_positions.table");
  for (Index i = 0; i < sizes.layers; ++i) {
    memory = post_norm_block(g, "encoder" + std::to_string(i), memory, block, &Graph::relu);
  }
  NodeId x = embedded_tokens(g, sizes);
  for (Index i = 0; i < sizes.layers; ++i) {
    std::string const name = "decoder" + std::to_string(i);
    x = layer_norm(g, name + ".ln1", g.add(name + ".add1", {x, attention(g, name + ".self", x, x, block)}));
    x = layer_norm(g, name + ".ln2", g.add(name + ".add2", {x, attention(g, name + ".cross", x, memory, block)}));
    x = layer_norm(g, name + ".ln3", g.add(name + ".add3", {x, mlp(g, name + ".mlp", x, block, &Graph::relu)}));
  }
  output_logits(g, x, sizes.vocab, Head::tied);
  return g;
}

// T5 (arXiv:1910.10683), its encoder: RMSNorm everywhere, so there is nothing to fold.
inline Graph t5_encoder(LanguageModelSizes const& sizes) {
  Graph g;
  NodeId x = embedding(g, "tokens", sizes.vocab, sizes.block.width);
  for (Index i = 0; i < sizes.layers; ++i) {
    std::string const name = "block" + std::to_string(i);
    NodeId const n1 = g.rms_norm(name + ".norm1", x, name + ".norm1.gamma");
    x = g.add(name + ".add1", {x, attention(g, name + ".attention", n1, n1, sizes.block)});
    NodeId const n2 = g.rms_norm(name + ".norm2", x, name + ".norm2.gamma");
    x = g.add(name + ".add2", {x, mlp(g, name + ".mlp", n2, sizes.block, &Graph::relu)});
  }
  g.output("memory", g.rms_norm("norm_final", x, "norm_final.gamma"));
  return g;
}

// LLaMA (arXiv:2302.13971): RMSNorm, and an MLP with a gate.
inline Graph llama(LanguageModelSizes const& sizes) {
  Graph g;
  BlockSizes const& block = sizes.block;
  NodeId x = embedding(g, "tokens", sizes.vocab, block.width);
  for (Index i = 0; i < sizes.layers; ++i) {
    std::string const name = "block" + std::to_string(i);
    NodeId const n1 = g.rms_norm(name + ".norm1", x, name + ".norm1.gamma");
    x = g.add(name + ".add1", {x, attention(g, name + ".attention", n1, n1, block)});
    NodeId const n2 = g.rms_norm(name + ".norm2", x, name + ".norm2.gamma");
    NodeId const gate = g.silu(name + ".silu", linear_without_bias(g, name + ".gate", n2, block.hidden));
    NodeId const gated = g.multiply(name + ".gated", gate, linear_without_bias(g, name + ".up", n2, block.hidden));
    x = g.add(name + ".add2", {x, linear_without_bias(g, name + ".down", gated, block.width)});
  }
  output_logits(g, g.rms_norm("norm_final", x, "norm_final.gamma"), sizes.vocab, Head::untied);
  return g;
}

}  // namespace foldnorm::architectures
