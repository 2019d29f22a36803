// SPDX-License-Identifier: MIT
// architectures/speech_models.hpp -- Whisper (arXiv:2212.04356), its two halves as layer graphs.
#pragma once

#include "blocks.hpp"
#include "language_models.hpp"

#include <foldnorm/graph/graph.hpp>

#include <string>

namespace foldnorm::architectures {

// Two convolutions with GELU, the second of stride 2, then positions and pre-norm blocks. The stride is a merge of two
// frames in front of a convolution that reads three such pairs: 6 taps, where the model has 3.
inline Graph whisper_encoder(Index layers, BlockSizes const& block, Index mel_channels) {
  Graph g;
  NodeId x = g.conv("conv1", g.input("mel", mel_channels), block.width, 3, "conv1.weight", "conv1.bias");
  x = g.merge_tokens("stride", g.gelu("gelu1", x), 2);
  x = g.gelu("gelu2", g.conv("conv2", x, block.width, 3, "conv2.weight", "conv2.bias"));
  x = g.add_token_parameter("positions", x, "positions.table");
  for (Index i = 0; i < layers; ++i) x = pre_norm_block(g, "block" + std::to_string(i), x, block);
  g.output("memory", layer_norm(g, "ln_final", x));
  return g;
}

// Pre-norm blocks with a second attention, on the encoder's memory.
inline Graph whisper_decoder(LanguageModelSizes const& sizes) {
  Graph g;
  BlockSizes const& block = sizes.block;
  NodeId const memory = g.input("memory", block.width);
  NodeId x = embedded_tokens(g, sizes);
  for (Index i = 0; i < sizes.layers; ++i) {
    std::string const name = "block" + std::to_string(i);
    NodeId const n1 = layer_norm(g, name + ".ln1", x);
    x = g.add(name + ".add1", {x, attention(g, name + ".self", n1, n1, block)});
    NodeId const n2 = layer_norm(g, name + ".ln2", x);
    x = g.add(name + ".add2", {x, attention(g, name + ".cross", n2, memory, block)});
    NodeId const n3 = layer_norm(g, name + ".ln3", x);
    x = g.add(name + ".add3", {x, mlp(g, name + ".mlp", n3, block)});
  }
  output_logits(g, layer_norm(g, "ln_final", x), sizes.vocab, Head::tied);
  return g;
}

}  // namespace foldnorm::architectures
