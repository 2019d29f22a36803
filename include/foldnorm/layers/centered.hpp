// SPDX-License-Identifier: MIT
// foldnorm/layers/centered.hpp -- layers whose outputs have mean zero at every step of training: column-based weight
// centering (CBWC). In front of an RMSNorm they are LayerNorm's training, for RMSNorm's price.
//
//   W = P V,  b = P v           forward, with P = I - 1 1^T / out: stored are V and v, used are W and b
//   dV = P dW,  dv = P db       backward; dx is the plain layer's with W
//
// For every V, the network with W and RMSNorm computes what the one with V and LayerNorm computes. So both have the
// same gradient by V, and every optimizer that sees V and its gradient (SGD, momentum, Adam, AdamW, LAMB, decay on V,
// clipping) takes the same path. It ends where something between layer and norm spoils the mean: element-wise dropout
// does, stochastic depth, one factor for a whole sample, does not. Foldable LayerNorm, arXiv:2605.14521; that training
// is the same was derived for this library.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/center.hpp>
#include <foldnorm/layers/convolution.hpp>
#include <foldnorm/layers/embedding.hpp>
#include <foldnorm/layers/linear.hpp>

#include <span>
#include <string_view>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

// P on every parameter of a layer whose parameters' rows are its outputs (Linear, Convolution, Embedding), or of its
// gradient, in place.
//
// This alone is the variant with one set of weights: center the gradient before the optimizer's step and the weights
// after it. They follow the path of P V under SGD, momentum, coupled L2 decay, Adam and AdamW; not under Adam with
// coupled L2 decay (it enters the second moment), LAMB, LARS, or clipping of weight norms, whose V is another one. With
// a gradient that is not centered, only SGD (with or without momentum) still does.
template <class Plain>
void center_parameters(Plain& layer) {
  layer.for_each_parameter(
      [](char const*, auto& values) { center(values, MatrixRef<typename Plain::Scalar>(values), Accuracy::fast); });
}

template <class Plain_>
class Centered {
 public:
  using Plain = Plain_;
  using Scalar = typename Plain::Scalar;

  // Stores the plain layer: with LayerNorm behind it, it computes what this one does in front of RMSNorm.
  explicit Centered(Plain layer) : stored_(std::move(layer)), centered_(stored_) { refresh(); }

  Index in_features() const { return stored_.in_features(); }
  Index out_features() const { return stored_.out_features(); }

  // V and v: what training changes, by for_each_parameter.
  Plain const& stored() const { return stored_; }
  // W and b: the layer frozen for inference.
  Plain const& centered() const { return centered_; }

  // The plain layer's, with W and b.
  template <class X>
  void forward(X const& x, MatrixRef<Scalar> y) const {
    centered_.forward(x, y);
  }

  // Writes dx as the plain layer does, and adds to the gradient by V and v, which is what `gradient` stores. All of it
  // is centered: what else was added there (a penalty's gradient) loses its means, so add that afterwards.
  void backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> dx,
                Centered& gradient) const {
    centered_.backward(dy, x, dx, gradient.stored_);
    center_parameters(gradient.stored_);  // what was centered stays as it is, so that sums over batches are right
  }
  // Of a layer that reads ids.
  void backward(ConstMatrixRef<Scalar> const& dy, std::span<Index const> ids, Centered& gradient) const {
    centered_.backward(dy, ids, gradient.stored_);
    center_parameters(gradient.stored_);
  }

  // Calls use(name, matrix or vector) for V and v, then centers them: once an optimizer's step, about the time of a
  // copy. Keep no reference: changes from elsewhere would not be seen.
  template <class Use>
  void for_each_parameter(Use const& use) {
    stored_.for_each_parameter(use);
    refresh();
  }
  template <class Use>
  void for_each_parameter(Use const& use) const {
    stored_.for_each_parameter(use);
  }

 private:
  void refresh() {
    std::as_const(stored_).for_each_parameter([&](std::string_view name, auto const& v) {
      centered_.for_each_parameter([&](std::string_view other, auto& w) {
        if (other == name) center(v, MatrixRef<Scalar>(w), Accuracy::fast);
      });
    });
  }

  Plain stored_, centered_;
};

template <real_scalar Scalar>
using CenteredLinear = Centered<Linear<Scalar>>;
template <real_scalar Scalar>
using CenteredConvolution = Centered<Convolution<Scalar>>;
template <real_scalar Scalar>
using CenteredEmbedding = Centered<Embedding<Scalar>>;

}  // namespace foldnorm::inline FOLDNORM_ABI
