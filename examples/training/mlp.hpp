// SPDX-License-Identifier: MIT
// training/mlp.hpp -- a multilayer perceptron: blocks of Linear, norm and ReLU, and a linear head.
#pragma once

#include <foldnorm/graph/graph.hpp>

#include "linear.hpp"
#include "norm.hpp"
#include "relu.hpp"

#include <random>
#include <string>
#include <vector>

namespace foldnorm::training {

template <real_scalar Scalar_>
class Mlp {
 public:
  using Scalar = Scalar_;

  // What one forward pass leaves for the backward pass; reuse it to save the allocations.
  struct Activations {
    struct Block {
      Matrix<Scalar> linear;  // the norm's input
      Matrix<Scalar> hidden;  // the norm's output, after the ReLU
      NormActivations<Scalar> norm;
    };
    std::vector<Block> blocks;
    Matrix<Scalar> logits;
    Matrix<Scalar> gradient, next_gradient;  // of the value that backward has reached
  };

  // widths: features of the input, of every hidden layer, and the number of classes.
  Mlp(std::vector<Index> widths, std::mt19937_64& random) : widths_(std::move(widths)) {
    std::size_t const hidden_layers = widths_.size() - 2;
    for (std::size_t i = 0; i < hidden_layers; ++i) {
      std::string const number = std::to_string(i + 1);
      linears_.push_back({"fc" + number + ".weight", "fc" + number + ".bias"});
      norms.push_back({"norm" + number});
      linears_[i].initialize(widths_[i + 1], widths_[i], 2, random, parameters);
      norms[i].initialize(widths_[i + 1], parameters);
    }
    linears_.push_back({"head.weight", "head.bias"});
    linears_.back().initialize(widths_.back(), widths_[hidden_layers], 1, random, parameters);
  }

  Index input_features() const { return widths_.front(); }

  // x: input_features x n. Returns the logits (classes x n), which live in the activations.
  Matrix<Scalar> const& forward(ConstMatrixRef<Scalar> x, Activations& a, Pass pass = Pass::training) const {
    a.blocks.resize(norms.size());
    for (std::size_t i = 0; i < norms.size(); ++i) {
      typename Activations::Block& block = a.blocks[i];
      if (i == 0) {
        linears_[i].template forward<Scalar>(parameters, x, block.linear);
      } else {
        linears_[i].template forward<Scalar>(parameters, a.blocks[i - 1].hidden, block.linear);
      }
      norms[i].forward(parameters, block.linear, block.hidden, block.norm, pass);
      relu(block.hidden);
    }
    linears_.back().template forward<Scalar>(parameters, a.blocks.back().hidden, a.logits);
    return a.logits;
  }

  // Adds the gradients of the loss to `gradients` (names and shapes of `parameters`), given the loss's gradient with
  // respect to the logits; x and activations of the last forward pass.
  void backward(ConstMatrixRef<Scalar> x, Matrix<Scalar> const& dlogits, Activations& a,
                NamedMatrices<Scalar>& gradients) const {
    linears_.back().template backward<Scalar>(parameters, a.blocks.back().hidden, dlogits, gradients, a.gradient);
    for (std::size_t i = norms.size(); i-- > 0;) {
      typename Activations::Block const& block = a.blocks[i];
      relu_backward(block.hidden, a.gradient);
      norms[i].backward(parameters, a.gradient, block.linear, block.norm, gradients, a.next_gradient);
      if (i == 0) {
        linears_[i].template add_gradients<Scalar>(x, a.next_gradient, gradients);
      } else {
        linears_[i].template backward<Scalar>(parameters, a.blocks[i - 1].hidden, a.next_gradient, gradients,
                                              a.gradient);
      }
    }
  }

  // Seconds that the norms took in the forward passes since the last call.
  static double take_norm_seconds(Activations& a) {
    double seconds = 0;
    for (typename Activations::Block& block : a.blocks) seconds += std::exchange(block.norm.seconds, 0);
    return seconds;
  }

  // The same network as a layer graph.
  Graph describe() const {
    Graph graph;
    NodeId value = graph.input("pixels", widths_.front());
    for (std::size_t i = 0; i < norms.size(); ++i) {
      std::string const number = std::to_string(i + 1);
      value = graph.linear("fc" + number, value, widths_[i + 1], linears_[i].weight, linears_[i].bias);
      value = norms[i].describe(graph, value);
      value = graph.relu("relu" + number, value);
    }
    graph.output("logits", graph.linear("head", value, widths_.back(), linears_.back().weight, linears_.back().bias));
    return graph;
  }

  NamedMatrices<Scalar> parameters;
  std::vector<Norm> norms;  // in the order of the forward pass; a fold changes their kinds

 private:
  std::vector<Index> widths_;
  std::vector<Linear> linears_;  // one per norm, and the head
};

}  // namespace foldnorm::training
