// SPDX-License-Identifier: MIT
// training/relu.hpp -- y = max(x, 0), in place, forward and backward.
#pragma once

#include <foldnorm/core/types.hpp>

namespace foldnorm::training {

template <real_scalar Scalar>
void relu(Matrix<Scalar>& x) {
  x = x.cwiseMax(Scalar(0));
}

// Turns dy into dx; y is the output of the forward pass.
template <real_scalar Scalar>
void relu_backward(Matrix<Scalar> const& y, Matrix<Scalar>& dy) {
  dy = (y.array() > Scalar(0)).select(dy, Scalar(0));
}

}  // namespace foldnorm::training
