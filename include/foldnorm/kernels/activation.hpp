// SPDX-License-Identifier: MIT
// foldnorm/kernels/activation.hpp -- the element-wise activations that normalization is compared with.
//
//   relu max(x, 0)      tanh      sigmoid 1 / (1 + exp(-x))          dx = dy * f'(x), with relu'(0) = 0
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>

#include <string_view>

namespace foldnorm::inline FOLDNORM_ABI {

enum class ActivationKind { relu, tanh, sigmoid };

constexpr std::string_view to_string(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::relu:
      return "relu";
    case ActivationKind::tanh:
      return "tanh";
    default:
      return "sigmoid";
  }
}

// x, y: n x m; y may be x. Saturates for large |x|; NaN stays NaN.
template <real_scalar Scalar>
void activate(ActivationKind kind, ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y) {
  check_same_shape(x, y, "activate: x, y");
  check_no_partial_overlap(x, y, "activate: x, y");
  switch (kind) {
    case ActivationKind::relu:
      y = (x.array() < Scalar(0)).select(Scalar(0), x);  // keeps NaN, which max would lose
      break;
    case ActivationKind::tanh:
      y = x.array().tanh();
      break;
    case ActivationKind::sigmoid:
      y = x.array().logistic();
      break;
  }
}

// dy, x, dx: n x m; dx may be dy or x.
template <real_scalar Scalar>
void activate_backward(ActivationKind kind, ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x,
                       MatrixRef<Scalar> dx) {
  check_same_shape(dy, x, "activate_backward: dy, x");
  check_same_shape(x, dx, "activate_backward: x, dx");
  check_no_partial_overlap(dy, dx, "activate_backward: dy, dx");
  check_no_partial_overlap(x, dx, "activate_backward: x, dx");
  switch (kind) {
    case ActivationKind::relu:
      dx = (x.array() > Scalar(0)).select(dy, Scalar(0));
      break;
    case ActivationKind::tanh:
      dx = dy.array() * (1 - x.array().tanh().square());
      break;
    case ActivationKind::sigmoid:
      dx = dy.array() * x.array().logistic() * (-x.array()).logistic();
      break;
  }
}

}  // namespace foldnorm::inline FOLDNORM_ABI
