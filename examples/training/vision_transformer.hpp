// SPDX-License-Identifier: MIT
// training/vision_transformer.hpp -- a small pre-norm Vision Transformer with mean pooling.
//
//   h = W_patch x + b + positions                          one token per patch
//   h = h + project(attention(qkv(norm(h))))               per block
//   h = h + fc2(relu(fc1(norm(h))))                        or what else stands between two linear maps, as PLN
//   logits = head(mean over tokens of norm(h))
// Dosovitskiy et al., arXiv:2010.11929, with ReLU for GELU and mean pooling for the class token.
#pragma once

#include <foldnorm/graph/graph.hpp>

#include "attention.hpp"
#include "linear.hpp"
#include "nonlinearity.hpp"
#include "norm.hpp"

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::training {

struct VisionTransformerSizes {
  Index patch_pixels = 49;
  Index tokens = 16;
  Index features = 64;
  Index heads = 4;  // divides features
  Index hidden = 128;
  Index blocks = 2;
  Index classes = 10;
  Index norm_size = 0;                 // features per group of the norms on the stream, a divisor of features; 0: all
  Nonlinearity mlp = {.norm = false};  // between the two linear maps of the MLP: ReLU
};

template <real_scalar Scalar_>
class VisionTransformer {
 public:
  using Scalar = Scalar_;

  // What one forward pass leaves for the backward pass; reuse it to save the allocations.
  struct Activations {
    struct Block {
      Matrix<Scalar> attention_input, qkv, probabilities, mixed;  // the first: the norm's output
      Matrix<Scalar> middle;                                      // the stream between attention and MLP
      Matrix<Scalar> mlp_input;                                   // the norm's output
      NonlinearityActivations<Scalar> hidden;                     // before and after the ReLU
      Matrix<Scalar> output;                                      // the stream behind the block
    };
    Matrix<Scalar> embedded;  // the stream in front of the first block
    std::vector<Block> blocks;
    Matrix<Scalar> final, pooled, logits;
    std::vector<NormActivations<Scalar>> norms;             // on the stream, in the order of the forward pass
    Matrix<Scalar> dstream, dwide, dhidden, dnarrow, dqkv;  // scratch of the backward pass
  };

  VisionTransformer(VisionTransformerSizes const& sizes, std::mt19937_64& random)
      : sizes_(sizes), attention_{sizes.heads, sizes.tokens} {
    Index const m = sizes.features;
    patch_.initialize(m, sizes.patch_pixels, 1, random, parameters);
    parameters[positions_] = random_matrix<Scalar>(m, sizes.tokens, 0.1, random);
    for (Index i = 0; i < sizes.blocks; ++i) {
      std::string const prefix = "block" + std::to_string(i + 1) + ".";
      auto const linear = [&](char const* name) { return Linear{prefix + name + ".weight", prefix + name + ".bias"}; };
      blocks_.push_back({prefix, linear("qkv"), linear("project"), linear("fc1"), linear("fc2")});
      norms.push_back({.name = prefix + "norm1", .norm_size = sizes.norm_size});
      norms.push_back({.name = prefix + "norm2", .norm_size = sizes.norm_size});
      blocks_.back().qkv.initialize(3 * m, m, 1, random, parameters);
      blocks_.back().project.initialize(m, m, 1.0 / static_cast<double>(sizes.blocks), random, parameters);
      blocks_.back().fc1.initialize(sizes.hidden, m, sizes_.mlp.gain(), random, parameters);
      blocks_.back().fc2.initialize(m, sizes.hidden, 1.0 / static_cast<double>(sizes.blocks), random, parameters);
    }
    norms.push_back({.name = "norm", .norm_size = sizes.norm_size});
    for (Norm const& norm : norms) norm.initialize(m, parameters);
    for (Block const& block : blocks_) {
      if (auto const norm = sizes_.mlp.make_norm(block.prefix + "norm3")) {
        norm->initialize(sizes.hidden, parameters);
        norms.push_back(*norm);
      }
    }
    head_.initialize(sizes.classes, m, 1, random, parameters);
  }

  Index input_features() const { return sizes_.patch_pixels; }
  static Matrix<Scalar> const& logits(Activations const& a) { return a.logits; }

  // x: patch_pixels x (tokens n), the tokens of an image next to each other. Returns the logits (classes x n), which
  // live in the activations.
  Matrix<Scalar> const& forward(ConstMatrixRef<Scalar> x, Activations& a, Pass pass = Pass::training) const {
    a.blocks.resize(blocks_.size());
    a.norms.resize(final_norm() + 1);
    patch_.template forward<Scalar>(parameters, x, a.embedded);
    per_image(a.embedded).colwise() += per_image(parameters.at(positions_)).col(0);
    Matrix<Scalar> const* stream = &a.embedded;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      typename Activations::Block& b = a.blocks[i];
      norms[2 * i].forward(parameters, *stream, b.attention_input, a.norms[2 * i], pass);
      blocks_[i].qkv.template forward<Scalar>(parameters, b.attention_input, b.qkv);
      attention_.forward(Attention::operands(b.qkv), b.mixed, b.probabilities);
      blocks_[i].project.template forward<Scalar>(parameters, b.mixed, b.middle);
      b.middle += *stream;

      norms[2 * i + 1].forward(parameters, b.middle, b.mlp_input, a.norms[2 * i + 1], pass);
      blocks_[i].fc1.template forward<Scalar>(parameters, b.mlp_input, b.hidden.input);
      apply(mlp_norm(i), sizes_.mlp.relu, parameters, b.hidden, pass);
      blocks_[i].fc2.template forward<Scalar>(parameters, b.hidden.output, b.output);
      b.output += b.middle;
      stream = &b.output;
    }
    norms[final_norm()].forward(parameters, *stream, a.final, a.norms.back(), pass);
    a.pooled.resize(sizes_.features, x.cols() / sizes_.tokens);
    for (Index j = 0; j < a.pooled.cols(); ++j) a.pooled.col(j) = image_tokens(a.final, j).rowwise().mean();
    head_.template forward<Scalar>(parameters, a.pooled, a.logits);
    return a.logits;
  }

  // Adds the gradients of the loss to `gradients` (names and shapes of `parameters`), given the loss's gradient with
  // respect to the logits; x and activations of the last forward pass.
  void backward(ConstMatrixRef<Scalar> x, Matrix<Scalar> const& dlogits, Activations& a,
                NamedMatrices<Scalar>& gradients) const {
    auto const norm_backward = [&](std::size_t i, Matrix<Scalar> const& input, Matrix<Scalar>& dinput) {
      norms[i].backward(parameters, a.dnarrow, input, a.norms[i], gradients, dinput);
    };
    head_.template backward<Scalar>(parameters, a.pooled, dlogits, gradients, a.dwide);
    a.dnarrow.resize(sizes_.features, x.cols());
    for (Index j = 0; j < a.dwide.cols(); ++j) {
      image_tokens(a.dnarrow, j).colwise() = a.dwide.col(j) / static_cast<Scalar>(sizes_.tokens);
    }
    norm_backward(final_norm(), blocks_.empty() ? a.embedded : a.blocks.back().output, a.dstream);

    for (std::size_t i = blocks_.size(); i-- > 0;) {
      typename Activations::Block const& b = a.blocks[i];
      blocks_[i].fc2.template backward<Scalar>(parameters, b.hidden.output, a.dstream, gradients, a.dwide);
      apply_backward(mlp_norm(i), sizes_.mlp.relu, parameters, b.hidden, a.dwide, gradients, a.dhidden);
      blocks_[i].fc1.template backward<Scalar>(parameters, b.mlp_input, a.dhidden, gradients, a.dnarrow);
      norm_backward(2 * i + 1, b.middle, a.dwide);
      a.dstream += a.dwide;

      blocks_[i].project.template backward<Scalar>(parameters, b.mixed, a.dstream, gradients, a.dnarrow);
      a.dqkv.resize(b.qkv.rows(), b.qkv.cols());
      attention_.backward(a.dnarrow, Attention::operands(b.qkv), b.probabilities, Attention::gradients(a.dqkv));
      blocks_[i].qkv.template backward<Scalar>(parameters, b.attention_input, a.dqkv, gradients, a.dnarrow);
      norm_backward(2 * i, i == 0 ? a.embedded : a.blocks[i - 1].output, a.dwide);
      a.dstream += a.dwide;
    }
    per_image(gradients.at(positions_)) += per_image(a.dstream).rowwise().sum();
    patch_.template add_gradients<Scalar>(x, a.dstream, gradients);
  }

  // Seconds that the norms took in the forward passes since the last call.
  static double take_norm_seconds(Activations& a) {
    double seconds = 0;
    for (NormActivations<Scalar>& norm : a.norms) seconds += std::exchange(norm.seconds, 0);
    for (typename Activations::Block& block : a.blocks) seconds += std::exchange(block.hidden.norm.seconds, 0);
    return seconds;
  }

  // The same network as a layer graph; its input is one image, patch_pixels x tokens.
  Graph describe() const {
    Graph graph;
    auto const linear = [&](std::string const& name, NodeId x, Index out, Linear const& layer) {
      return graph.linear(name, x, out, layer.weight, layer.bias);
    };
    Index const m = sizes_.features;
    NodeId stream = linear("patch", graph.input("patches", sizes_.patch_pixels), m, patch_);
    stream = graph.add_token_parameter("embedded", stream, positions_);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      Block const& block = blocks_[i];
      std::string const& prefix = block.prefix;
      NodeId const qkv = linear(prefix + "qkv", norms[2 * i].describe(graph, stream), 3 * m, block.qkv);
      NodeId const mixed = graph.attention(prefix + "attention", graph.slice_features(prefix + "q", qkv, 0, m),
                                           graph.slice_features(prefix + "k", qkv, m, m),
                                           graph.slice_features(prefix + "v", qkv, 2 * m, m), sizes_.heads);
      stream = graph.add(prefix + "middle", {stream, linear(prefix + "project", mixed, m, block.project)});
      NodeId const wide = linear(prefix + "fc1", norms[2 * i + 1].describe(graph, stream), sizes_.hidden, block.fc1);
      Norm const* const norm = mlp_norm(i);
      NodeId hidden = norm ? norm->describe(graph, wide) : wide;
      if (sizes_.mlp.relu) hidden = graph.relu(prefix + "relu", hidden);
      stream = graph.add(prefix + "output", {stream, linear(prefix + "fc2", hidden, m, block.fc2)});
    }
    NodeId const pooled = graph.mean_tokens("pooled", norms[final_norm()].describe(graph, stream));
    graph.output("logits", linear("head", pooled, sizes_.classes, head_));
    return graph;
  }

  NamedMatrices<Scalar> parameters;
  // Those on the stream in the order of the forward pass, then those in the MLPs; a fold changes their kinds.
  std::vector<Norm> norms;

 private:
  struct Block {
    std::string prefix;
    Linear qkv, project, fc1, fc2;
  };

  std::size_t final_norm() const { return 2 * blocks_.size(); }
  Norm const* mlp_norm(std::size_t block) const { return sizes_.mlp.norm ? &norms[final_norm() + 1 + block] : nullptr; }

  // A features x (tokens n) matrix seen as one column per image.
  template <class M>
  auto per_image(M& matrix) const {
    using Seen = std::conditional_t<std::is_const_v<M>, Matrix<Scalar> const, Matrix<Scalar>>;
    Index const size = sizes_.features * sizes_.tokens;
    return Eigen::Map<Seen>(matrix.data(), size, matrix.size() / size);
  }
  template <class M>
  auto image_tokens(M& matrix, Index image) const {
    return matrix.middleCols(image * sizes_.tokens, sizes_.tokens);
  }

  VisionTransformerSizes sizes_;
  Attention attention_;
  Linear patch_{"patch.weight", "patch.bias"};
  std::string positions_ = "positions";
  std::vector<Block> blocks_;
  Linear head_{"head.weight", "head.bias"};
};

}  // namespace foldnorm::training
