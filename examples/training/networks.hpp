// SPDX-License-Identifier: MIT
// training/networks.hpp -- networks as layer graphs, each with LayerNorm or with RMSNorm where a norm stands.
//
// Norms are called NAME and have the parameters NAME.gamma and NAME.beta; layers have NAME.weight and NAME.bias.
#pragma once

#include <foldnorm/graph/graph.hpp>
#include <foldnorm/layers/norm_layer.hpp>

#include <string>
#include <vector>

namespace foldnorm::training {

// Adds the nodes that networks are made of.
class NetworkBuilder {
 public:
  explicit NetworkBuilder(NormKind kind) : kind_(kind) {}

  NodeId linear(std::string const& name, NodeId x, Index out) {
    return graph.linear(name, x, out, name + ".weight", name + ".bias");
  }
  NodeId norm(std::string const& name, NodeId x, std::string const& parameters) {
    return kind_ == NormKind::layer_norm ? graph.layer_norm(name, x, parameters + ".gamma", parameters + ".beta")
                                         : graph.rms_norm(name, x, parameters + ".gamma", parameters + ".beta");
  }
  NodeId norm(std::string const& name, NodeId x) { return norm(name, x, name); }
  // x itself where nothing is dropped.
  NodeId dropout(std::string const& name, NodeId x, double p) { return p > 0 ? graph.dropout(name, x, p) : x; }
  NodeId drop_path(std::string const& name, NodeId x, double p) { return p > 0 ? graph.drop_path(name, x, p) : x; }

  NodeId attention(std::string const& prefix, NodeId x, Index features, Index heads) {
    // No bias: the keys' would have gradient 0, whose rounding Adam takes for a direction.
    NodeId const qkv = graph.linear(prefix + "qkv", x, 3 * features, prefix + "qkv.weight");
    auto const part = [&](char const* name, Index i) {
      return graph.slice_features(prefix + name, qkv, i * features, features);
    };
    NodeId const mixed = graph.attention(prefix + "mixed", part("q", 0), part("k", 1), part("v", 2), heads);
    return linear(prefix + "project", mixed, features);
  }
  NodeId mlp(std::string const& prefix, NodeId x, Index features, Index hidden) {
    return linear(prefix + "fc2", graph.relu(prefix + "relu", linear(prefix + "fc1", x, hidden)), features);
  }

  Graph graph;

 private:
  NormKind kind_;
};

// Linear -> dropout -> norm -> ReLU for every hidden width, then a linear head.
struct MlpSizes {
  Index inputs = 784;
  std::vector<Index> hidden{256, 128};
  Index classes = 10;
  double dropout = 0;
};

inline Graph mlp_graph(MlpSizes const& sizes, NormKind kind) {
  NetworkBuilder b(kind);
  NodeId h = b.graph.input("pixels", sizes.inputs);
  for (std::size_t i = 0; i < sizes.hidden.size(); ++i) {
    std::string const number = std::to_string(i + 1);
    h = b.dropout("dropout" + number, b.linear("fc" + number, h, sizes.hidden[i]), sizes.dropout);
    h = b.graph.relu("relu" + number, b.norm("norm" + number, h));
  }
  b.graph.output("logits", b.linear("head", h, sizes.classes));
  return b.graph;
}

enum class NormPlacement {
  pre,   // h + f(norm(h)), and a norm behind the last block
  post,  // norm(h + f(h))
};

struct TransformerSizes {
  Index inputs = 49;  // features of a token, or the vocabulary of a text
  Index tokens = 16;
  Index features = 64;
  Index heads = 4;
  Index hidden = 256;
  Index blocks = 2;
  Index classes = 10;
  NormPlacement placement = NormPlacement::pre;
  double dropout = 0;       // element by element, behind each residual branch
  double drop_path = 0;     // stochastic depth: a whole branch of a sample
  bool reads_text = false;  // ids in, a prediction for every token out
  bool merges = false;      // between the blocks four tokens become one of twice the features, as in Swin
};

namespace detail {

inline NodeId transformer_block(NetworkBuilder& b, TransformerSizes const& sizes, std::string const& prefix, NodeId h,
                                Index features) {
  auto const branch = [&](std::string const& name, NodeId f) {
    return b.drop_path(prefix + name + "path", b.dropout(prefix + name + "dropout", f, sizes.dropout), sizes.drop_path);
  };
  bool const pre = sizes.placement == NormPlacement::pre;
  NodeId const mixed = b.attention(prefix, pre ? b.norm(prefix + "norm1", h) : h, features, sizes.heads);
  h = b.graph.add(prefix + "middle", {h, branch("attention_", mixed)});
  if (!pre) h = b.norm(prefix + "norm1", h);
  NodeId const moved =
      b.mlp(prefix, pre ? b.norm(prefix + "norm2", h) : h, features, sizes.hidden * features / sizes.features);
  h = b.graph.add(prefix + "output", {h, branch("mlp_", moved)});
  return pre ? h : b.norm(prefix + "norm2", h);
}

// A norm over four tokens side by side, then a linear map to half their features. (Liu et al., arXiv:2103.14030)
inline NodeId merge(NetworkBuilder& b, std::string const& prefix, NodeId h, Index features) {
  return b.linear(prefix + "reduce", b.norm(prefix + "norm", b.graph.merge_tokens(prefix + "merged", h, 4)), features);
}

}  // namespace detail

// Pre-norm or post-norm; of images (mean over the tokens, then a head) or of text (a head on every token). One that
// merges tokens has a norm on its patches, too, as Swin does.
inline Graph transformer_graph(TransformerSizes const& sizes, NormKind kind) {
  NetworkBuilder b(kind);
  Index features = sizes.features;
  NodeId h;
  if (sizes.reads_text) {
    h = b.graph.embedding("embedded", b.graph.ids("text", sizes.inputs), features, "table");
  } else {
    h = b.linear("patch", b.graph.input("patches", sizes.inputs), features);
  }
  h = b.graph.add_token_parameter("placed", h, "positions");
  if (sizes.merges) h = b.norm("patch_norm", h);
  for (Index i = 0; i < sizes.blocks; ++i) {
    std::string const prefix = "block" + std::to_string(i + 1) + ".";
    if (sizes.merges && i > 0) h = detail::merge(b, prefix + "merge.", h, features *= 2);
    h = detail::transformer_block(b, sizes, prefix, h, features);
  }
  if (sizes.placement == NormPlacement::pre) h = b.norm("norm", h);
  if (!sizes.reads_text) h = b.graph.mean_tokens("pooled", h);
  b.graph.output("logits", b.linear("head", h, sizes.classes));
  return b.graph;
}

// A recurrent network over the rows of an image, unrolled: s = tanh(norm(W x_t + U s + b)), then a linear head.
struct RecurrentSizes {
  Index steps = 28;
  Index inputs = 28;  // of a step
  Index features = 64;
  Index classes = 10;
  double dropout = 0;  // of what the norm reads
};

inline Graph recurrent_graph(RecurrentSizes const& sizes, NormKind kind) {
  NetworkBuilder b(kind);
  NodeId const pixels = b.graph.input("pixels", sizes.steps * sizes.inputs);
  NodeId state;
  for (Index t = 0; t < sizes.steps; ++t) {
    std::string const number = std::to_string(t + 1);
    NodeId const x = b.graph.slice_features("x" + number, pixels, t * sizes.inputs, sizes.inputs);
    NodeId h = b.graph.linear("in" + number, x, sizes.features, "in.weight", "in.bias");
    if (t > 0)
      h = b.graph.add("sum" + number, {h, b.graph.linear("back" + number, state, sizes.features, "back.weight")});
    h = b.dropout("dropout" + number, h, sizes.dropout);
    state = b.graph.tanh("state" + number, b.norm("norm" + number, h, "norm"));
  }
  b.graph.output("logits", b.linear("head", state, sizes.classes));
  return b.graph;
}

}  // namespace foldnorm::training
