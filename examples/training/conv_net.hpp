// SPDX-License-Identifier: MIT
// training/conv_net.hpp -- a small convolutional network: blocks of a 3x3 convolution, norm and ReLU, each with or
// without the last two; the mean over the pixels; a linear head.
//
// The norms are over the channels (or groups of them) at each pixel, not pooled over pixels. Images are channels-last,
// of one channel: 1 x (side^2 n).
#pragma once

#include "convolution.hpp"
#include "linear.hpp"
#include "nonlinearity.hpp"

#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::training {

struct ConvolutionBlock {
  Index channels = 0;
  Index stride = 1;
  Nonlinearity nonlinearity = {};
};

template <real_scalar Scalar_>
class ConvNet {
 public:
  using Scalar = Scalar_;

  // What one forward pass leaves for the backward pass; reuse it to save the allocations.
  struct Activations {
    struct Block {
      Matrix<Scalar> neighbourhoods;
      NonlinearityActivations<Scalar> nonlinearity;
    };
    std::vector<Block> blocks;
    Matrix<Scalar> pooled, logits;
    Matrix<Scalar> gradient, next_gradient, dneighbourhoods, dpooled;  // scratch of the backward pass
  };

  // side: of the images, in pixels. Precondition: at least one block.
  ConvNet(Index side, std::vector<ConvolutionBlock> const& blocks, Index classes, std::mt19937_64& random) {
    Index channels = 1;
    for (ConvolutionBlock const& description : blocks) {
      std::string const number = std::to_string(blocks_.size() + 1);
      Nonlinearity const& nonlinearity = description.nonlinearity;
      Block block{.neighbourhoods = {side, description.stride},
                  .linear = {"conv" + number + ".weight", "conv" + number + ".bias"},
                  .norm = nonlinearity.make_norm("norm" + number),
                  .relu = nonlinearity.relu};
      block.linear.initialize(description.channels, 9 * channels, nonlinearity.gain(), random, parameters);
      if (block.norm) block.norm->initialize(description.channels, parameters);
      side = block.neighbourhoods.output_side();
      channels = description.channels;
      blocks_.push_back(std::move(block));
    }
    pixels_ = side * side;
    head_.initialize(classes, channels, 1, random, parameters);
  }

  Index input_features() const { return 1; }
  static Matrix<Scalar> const& logits(Activations const& a) { return a.logits; }

  // x: 1 x (side^2 n). Returns the logits (classes x n), which live in the activations.
  Matrix<Scalar> const& forward(ConstMatrixRef<Scalar> x, Activations& a, Pass pass = Pass::training) const {
    a.blocks.resize(blocks_.size());
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      Block const& block = blocks_[i];
      typename Activations::Block& b = a.blocks[i];
      if (i == 0) {
        block.neighbourhoods.template gather<Scalar>(x, b.neighbourhoods);
      } else {
        block.neighbourhoods.template gather<Scalar>(a.blocks[i - 1].nonlinearity.output, b.neighbourhoods);
      }
      block.linear.template forward<Scalar>(parameters, b.neighbourhoods, b.nonlinearity.input);
      apply(block.norm_or_null(), block.relu, parameters, b.nonlinearity, pass);
    }
    Matrix<Scalar> const& last = a.blocks.back().nonlinearity.output;
    a.pooled.resize(last.rows(), last.cols() / pixels_);
    for (Index j = 0; j < a.pooled.cols(); ++j) {
      a.pooled.col(j) = last.middleCols(j * pixels_, pixels_).rowwise().mean();
    }
    head_.template forward<Scalar>(parameters, a.pooled, a.logits);
    return a.logits;
  }

  // Adds the gradients of the loss to `gradients` (names and shapes of `parameters`), given the loss's gradient with
  // respect to the logits, from the activations of the last forward pass.
  void backward(ConstMatrixRef<Scalar> /*x*/, Matrix<Scalar> const& dlogits, Activations& a,
                NamedMatrices<Scalar>& gradients) const {
    head_.template backward<Scalar>(parameters, a.pooled, dlogits, gradients, a.dpooled);
    a.gradient.resize(a.dpooled.rows(), a.dpooled.cols() * pixels_);
    for (Index j = 0; j < a.dpooled.cols(); ++j) {
      a.gradient.middleCols(j * pixels_, pixels_).colwise() = a.dpooled.col(j) / static_cast<Scalar>(pixels_);
    }
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      Block const& block = blocks_[i];
      typename Activations::Block const& b = a.blocks[i];
      apply_backward(block.norm_or_null(), block.relu, parameters, b.nonlinearity, a.gradient, gradients,
                     a.next_gradient);
      if (i == 0) {
        block.linear.template add_gradients<Scalar>(b.neighbourhoods, a.next_gradient, gradients);
      } else {
        block.linear.template backward<Scalar>(parameters, b.neighbourhoods, a.next_gradient, gradients,
                                               a.dneighbourhoods);
        block.neighbourhoods.scatter(a.dneighbourhoods, a.gradient);
      }
    }
  }

  NamedMatrices<Scalar> parameters;

 private:
  struct Block {
    Neighbourhoods neighbourhoods;
    Linear linear;
    std::optional<Norm> norm;
    bool relu;

    Norm const* norm_or_null() const { return norm ? &*norm : nullptr; }
  };

  std::vector<Block> blocks_;
  Index pixels_ = 0;  // of an image behind the last block
  Linear head_{"head.weight", "head.bias"};
};

}  // namespace foldnorm::training
