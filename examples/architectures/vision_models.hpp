// SPDX-License-Identifier: MIT
// architectures/vision_models.hpp -- models of images as layer graphs: `logits` out of patches.
//
// A patch is a token of patch_features values, so that the patch convolution is a linear layer. Windows and their
// shifts only choose which tokens attend to which; here all do.
#pragma once

#include "blocks.hpp"

#include <foldnorm/graph/graph.hpp>

#include <string>
#include <vector>

namespace foldnorm::architectures {

struct VisionModelSizes {
  Index layers = 12;
  BlockSizes block{};
  Index patch_features = 768;  // 16 x 16 pixels of 3 colours
  Index classes = 1000;
};

// Patches, learned tokens in front of them, positions.
inline NodeId embedded_patches(Graph& g, VisionModelSizes const& sizes, std::vector<std::string> const& learned) {
  NodeId const patches = linear(g, "patch", g.input("patches", sizes.patch_features), sizes.block.width);
  std::vector<NodeId> sequence;
  for (std::string const& name : learned) sequence.push_back(learned_token(g, name, sizes.block.width));
  sequence.push_back(patches);
  return g.add_token_parameter("positions", g.concat_tokens("sequence", sequence), "positions.table");
}

// Vision Transformer (arXiv:2010.11929).
inline Graph vit(VisionModelSizes const& sizes) {
  Graph g;
  NodeId x = embedded_patches(g, sizes, {"class"});
  for (Index i = 0; i < sizes.layers; ++i) x = pre_norm_block(g, "block" + std::to_string(i), x, sizes.block);
  g.output("logits", linear(g, "head", layer_norm(g, "ln_final", x), sizes.classes));
  return g;
}

// DeiT (arXiv:2012.12877): a second learned token and a second head.
inline Graph deit(VisionModelSizes const& sizes) {
  Graph g;
  NodeId x = embedded_patches(g, sizes, {"class", "distillation"});
  for (Index i = 0; i < sizes.layers; ++i) x = pre_norm_block(g, "block" + std::to_string(i), x, sizes.block);
  x = layer_norm(g, "ln_final", x);
  g.output("logits", linear(g, "head", x, sizes.classes));
  g.output("distilled_logits", linear(g, "distillation_head", x, sizes.classes));
  return g;
}

// DINOv2 (arXiv:2304.07193): LayerScale on every branch; features out.
inline Graph dinov2(VisionModelSizes const& sizes) {
  Graph g;
  NodeId x = embedded_patches(g, sizes, {"class"});
  for (Index i = 0; i < sizes.layers; ++i) x = layer_scale_block(g, "block" + std::to_string(i), x, sizes.block);
  g.output("features", layer_norm(g, "ln_final", x));
  return g;
}

// The vision tower of CLIP (arXiv:2103.00020): a LayerNorm in front of the blocks starts the stream.
inline Graph clip_vision(VisionModelSizes const& sizes) {
  Graph g;
  NodeId x = layer_norm(g, "ln_first", embedded_patches(g, sizes, {"class"}));
  for (Index i = 0; i < sizes.layers; ++i) x = pre_norm_block(g, "block" + std::to_string(i), x, sizes.block);
  g.output("embedding", linear_without_bias(g, "project", layer_norm(g, "ln_final", x), sizes.classes));
  return g;
}

// MLP-Mixer (arXiv:2105.01601). The format has no matrix that mixes tokens, the same for all features; an attention
// whose queries and keys come from elsewhere is one. The activation between two of them is what matters to a fold.
inline Graph mixer(VisionModelSizes const& sizes) {
  Graph g;
  BlockSizes const& block = sizes.block;
  NodeId const to = g.input("mixing_to", 8), from = g.input("mixing_from", 8);
  NodeId x = linear(g, "patch", g.input("patches", sizes.patch_features), block.width);
  for (Index i = 0; i < sizes.layers; ++i) {
    std::string const name = "block" + std::to_string(i);
    NodeId const mixed = g.attention(name + ".mix1", to, from, layer_norm(g, name + ".ln1", x));
    NodeId const active = g.gelu(name + ".mix_activation", mixed);
    x = g.add(name + ".add1", {x, g.attention(name + ".mix2", from, to, active)});
    x = g.add(name + ".add2", {x, mlp(g, name + ".mlp", layer_norm(g, name + ".ln2", x), block)});
  }
  NodeId const pooled = g.mean_tokens("pool", layer_norm(g, "ln_final", x));
  g.output("logits", linear(g, "head", pooled, sizes.classes));
  return g;
}

// DiT (arXiv:2212.09748): scale, shift and gate of every branch come from a condition, the norms have no affine part.
inline Graph dit(VisionModelSizes const& sizes) {
  Graph g;
  BlockSizes const& block = sizes.block;
  NodeId const condition = g.mean_tokens("condition.one", g.input("condition", block.width));
  NodeId x = linear(g, "patch", g.input("patches", sizes.patch_features), block.width);
  x = g.add_token_parameter("positions", x, "positions.table");
  auto const modulated_norm = [&](std::string const& name, NodeId y) {
    NodeId const n = g.layer_norm(name, y);
    NodeId const scaled = g.multiply(name + ".scaled", n, linear(g, name + ".scale", condition, block.width));
    return g.add(name + ".modulated", {n, scaled, linear(g, name + ".shift", condition, block.width)});
  };
  auto const gated = [&](std::string const& name, NodeId branch) {
    return g.multiply(name + ".gated", branch, linear(g, name + ".gate", condition, block.width));
  };
  for (Index i = 0; i < sizes.layers; ++i) {
    std::string const name = "block" + std::to_string(i);
    NodeId const n1 = modulated_norm(name + ".ln1", x);
    x = g.add(name + ".add1", {x, gated(name + ".attention", attention(g, name + ".attention", n1, n1, block))});
    NodeId const n2 = modulated_norm(name + ".ln2", x);
    x = g.add(name + ".add2", {x, gated(name + ".mlp", mlp(g, name + ".mlp", n2, block))});
  }
  g.output("noise", linear(g, "head", modulated_norm("ln_final", x), sizes.patch_features));
  return g;
}

// Models in stages: each halves both sides of the image and doubles the width.
struct StageSizes {
  std::vector<Index> depths{2, 2, 6, 2};
  Index width = 96, head_width = 32;  // of the first stage; of a head
  Index patch_features = 48;          // 4 x 4 pixels of 3 colours
  Index classes = 1000;

  BlockSizes block(std::size_t stage) const {
    Index const stage_width = width << stage;
    return {stage_width, stage_width / head_width, 4 * stage_width};
  }
};

// Blocks in stages; between stages four tokens become one, which `reduce` brings to the next stage's width.
template <class Reduce, class Block>
Graph staged_transformer(StageSizes const& sizes, Reduce reduce, Block block) {
  Graph g;
  NodeId x = layer_norm(g, "ln_patch", linear(g, "patch", g.input("patches", sizes.patch_features), sizes.width));
  for (std::size_t stage = 0; stage < sizes.depths.size(); ++stage) {
    std::string const name = "stage" + std::to_string(stage);
    if (stage > 0) x = reduce(g, name, g.merge_tokens(name + ".merge", x, 4), sizes.block(stage).width);
    for (Index i = 0; i < sizes.depths[stage]; ++i) {
      x = block(g, name + ".block" + std::to_string(i), x, sizes.block(stage));
    }
  }
  g.output("logits", linear(g, "head", g.mean_tokens("pool", layer_norm(g, "ln_final", x)), sizes.classes));
  return g;
}

// Swin (arXiv:2103.14030): pre-norm blocks; between stages a norm over four tokens at once, then a reduction.
inline Graph swin(StageSizes const& sizes) {
  auto const reduce = [](Graph& g, std::string const& name, NodeId merged, Index width) {
    return linear_without_bias(g, name + ".reduce", layer_norm(g, name + ".ln_merge", merged), width);
  };
  return staged_transformer(sizes, reduce, [](auto&&... block) { return pre_norm_block(block...); });
}

// Swin-V2 (arXiv:2111.09883): the norms stand at the branches' ends, and behind the reduction.
inline Graph swin_v2(StageSizes const& sizes) {
  auto const reduce = [](Graph& g, std::string const& name, NodeId merged, Index width) {
    return layer_norm(g, name + ".ln_merge", linear_without_bias(g, name + ".reduce", merged, width));
  };
  return staged_transformer(sizes, reduce, [](auto&&... block) { return branch_norm_block(block...); });
}

// ConvNeXt (arXiv:2201.03545): depthwise 7 x 7 convolutions (49 taps over the tokens) read the stream.
inline Graph convnext(StageSizes const& sizes) {
  Graph g;
  NodeId x = layer_norm(g, "ln_stem", linear(g, "stem", g.input("patches", sizes.patch_features), sizes.width));
  for (std::size_t stage = 0; stage < sizes.depths.size(); ++stage) {
    std::string const stage_name = "stage" + std::to_string(stage);
    BlockSizes const block = sizes.block(stage);
    if (stage > 0) {
      NodeId const n = layer_norm(g, stage_name + ".ln_down", x);
      x = linear(g, stage_name + ".down", g.merge_tokens(stage_name + ".merge", n, 4), block.width);
    }
    for (Index i = 0; i < sizes.depths[stage]; ++i) {
      std::string const name = stage_name + ".block" + std::to_string(i);
      NodeId const spatial = g.conv(name + ".depthwise", x, block.width, 49, name + ".depthwise.weight",
                                    name + ".depthwise.bias", block.width);
      NodeId const branch = mlp(g, name + ".mlp", layer_norm(g, name + ".ln", spatial), block);
      x = g.add(name + ".add", {x, g.scale_channels(name + ".scale", branch, name + ".scale")});
    }
  }
  g.output("logits", linear(g, "head", layer_norm(g, "ln_final", g.mean_tokens("pool", x)), sizes.classes));
  return g;
}

}  // namespace foldnorm::architectures
