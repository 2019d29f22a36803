// SPDX-License-Identifier: MIT
// training/mlp.hpp -- a multilayer perceptron: hidden blocks of Linear, norm and ReLU, each with or without the last
// two, and a linear head.
#pragma once

#include <foldnorm/graph/graph.hpp>

#include "linear.hpp"
#include "nonlinearity.hpp"
#include "norm.hpp"

#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::training {

struct HiddenBlock {
  Index width = 0;
  Nonlinearity nonlinearity = {};
};

template <real_scalar Scalar_>
class Mlp {
 public:
  using Scalar = Scalar_;

  // What one forward pass leaves for the backward pass; reuse it to save the allocations.
  struct Activations {
    std::vector<NonlinearityActivations<Scalar>> blocks;
    Matrix<Scalar> logits;
    Matrix<Scalar> gradient, next_gradient;  // of the value that backward has reached
  };

  // Without hidden blocks: softmax regression.
  Mlp(Index inputs, std::vector<HiddenBlock> const& hidden, Index classes, std::mt19937_64& random) : inputs_(inputs) {
    Index features = inputs;
    for (std::size_t i = 0; i < hidden.size(); ++i) {
      std::string const number = std::to_string(i + 1);
      Nonlinearity const& nonlinearity = hidden[i].nonlinearity;
      Block block{.linear = {"fc" + number + ".weight", "fc" + number + ".bias"},
                  .width = hidden[i].width,
                  .relu = nonlinearity.relu};
      block.linear.initialize(block.width, features, nonlinearity.gain(), random, parameters);
      if (std::optional<Norm> const norm = nonlinearity.make_norm("norm" + number)) {
        norm->initialize(block.width, parameters);
        block.norm = norms.size();
        norms.push_back(*norm);
      }
      features = block.width;
      blocks_.push_back(std::move(block));
    }
    head_.initialize(classes, features, 1, random, parameters);
  }

  // widths: features of the input, of every hidden layer (Linear, LayerNorm, ReLU), and the number of classes.
  Mlp(std::vector<Index> const& widths, std::mt19937_64& random)
      : Mlp(widths.front(), normalized_blocks({widths.begin() + 1, widths.end() - 1}), widths.back(), random) {}

  Index input_features() const { return inputs_; }
  static Matrix<Scalar> const& logits(Activations const& a) { return a.logits; }

  // x: input_features x n. Returns the logits (classes x n), which live in the activations.
  Matrix<Scalar> const& forward(ConstMatrixRef<Scalar> x, Activations& a, Pass pass = Pass::training) const {
    a.blocks.resize(blocks_.size());
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      blocks_[i].linear.template forward<Scalar>(parameters, input_of(i, x, a), a.blocks[i].input);
      apply(norm_of(blocks_[i]), blocks_[i].relu, parameters, a.blocks[i], pass);
    }
    head_.template forward<Scalar>(parameters, input_of(blocks_.size(), x, a), a.logits);
    return a.logits;
  }

  // Adds the gradients of the loss to `gradients` (names and shapes of `parameters`), given the loss's gradient with
  // respect to the logits; x and activations of the last forward pass.
  void backward(ConstMatrixRef<Scalar> x, Matrix<Scalar> const& dlogits, Activations& a,
                NamedMatrices<Scalar>& gradients) const {
    auto const linear_backward = [&](Linear const& linear, std::size_t i, Matrix<Scalar> const& dy) {
      if (i == 0) {
        linear.template add_gradients<Scalar>(x, dy, gradients);
      } else {
        linear.template backward<Scalar>(parameters, input_of(i, x, a), dy, gradients, a.gradient);
      }
    };
    linear_backward(head_, blocks_.size(), dlogits);
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      apply_backward(norm_of(blocks_[i]), blocks_[i].relu, parameters, a.blocks[i], a.gradient, gradients,
                     a.next_gradient);
      linear_backward(blocks_[i].linear, i, a.next_gradient);
    }
  }

  // Seconds that the norms took in the forward passes since the last call.
  static double take_norm_seconds(Activations& a) {
    double seconds = 0;
    for (NonlinearityActivations<Scalar>& block : a.blocks) seconds += std::exchange(block.norm.seconds, 0);
    return seconds;
  }

  // The same network as a layer graph.
  Graph describe() const {
    Graph graph;
    NodeId value = graph.input("pixels", inputs_);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      std::string const number = std::to_string(i + 1);
      Block const& block = blocks_[i];
      value = graph.linear("fc" + number, value, block.width, block.linear.weight, block.linear.bias);
      if (Norm const* const norm = norm_of(block)) value = norm->describe(graph, value);
      if (block.relu) value = graph.relu("relu" + number, value);
    }
    Index const classes = parameters.at(head_.bias).rows();
    graph.output("logits", graph.linear("head", value, classes, head_.weight, head_.bias));
    return graph;
  }

  NamedMatrices<Scalar> parameters;
  std::vector<Norm> norms;  // in the order of the forward pass; a fold changes their kinds

 private:
  struct Block {
    Linear linear;
    Index width;
    bool relu;
    std::optional<std::size_t> norm = {};  // its place in norms
  };

  static std::vector<HiddenBlock> normalized_blocks(std::vector<Index> const& widths) {
    std::vector<HiddenBlock> blocks;
    for (Index const width : widths) blocks.push_back({.width = width});
    return blocks;
  }

  Norm const* norm_of(Block const& block) const { return block.norm ? &norms[*block.norm] : nullptr; }

  static ConstMatrixRef<Scalar> input_of(std::size_t block, ConstMatrixRef<Scalar> const& x, Activations const& a) {
    return block == 0 ? x : ConstMatrixRef<Scalar>(a.blocks[block - 1].output);
  }

  Index inputs_;
  std::vector<Block> blocks_;
  Linear head_{"head.weight", "head.bias"};
};

}  // namespace foldnorm::training
