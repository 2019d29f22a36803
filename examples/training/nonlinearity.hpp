// SPDX-License-Identifier: MIT
// training/nonlinearity.hpp -- what follows a linear map: a norm or none, then a ReLU or none.
//
//   {}                                    y = relu(LN(x))
//   {.norm_size = 8, .relu = false}       y = PLN-8(x), normalization and activation at once
//   {.norm = false}                       y = relu(x)
//   {.norm = false, .relu = false}        y = x
#pragma once

#include <foldnorm/graph/graph.hpp>

#include "norm.hpp"
#include "relu.hpp"

#include <optional>
#include <string>
#include <utility>

namespace foldnorm::training {

struct Nonlinearity {
  bool norm = true;
  Index norm_size = 0;  // features per group; 0: all
  bool affine = true;   // has the norm a gamma and a beta?
  bool relu = true;

  std::optional<Norm> make_norm(std::string name) const {
    if (!norm) return {};
    return Norm{.name = std::move(name), .norm_size = norm_size, .affine = affine};
  }

  // Of the variance of the weights in front: 2 keeps the scale through a ReLU.
  double gain() const { return relu ? 2 : 1; }
};

// What one forward pass leaves for the backward pass.
template <real_scalar Scalar>
struct NonlinearityActivations {
  Matrix<Scalar> input, output;
  NormActivations<Scalar> norm;
};

// a.output (resized) from a.input, which is lost where there is no norm. `norm` is null where there is none.
template <real_scalar Scalar>
void apply(Norm const* norm, bool with_relu, NamedMatrices<Scalar> const& parameters,
           NonlinearityActivations<Scalar>& a, Pass pass) {
  if (norm) {
    norm->forward(parameters, a.input, a.output, a.norm, pass);
  } else {
    a.output.swap(a.input);
  }
  if (with_relu) relu(a.output);
}

// dx (resized) from dy, which is overwritten; adds to the norm's gradients. a: of the last apply, for training.
template <real_scalar Scalar>
void apply_backward(Norm const* norm, bool with_relu, NamedMatrices<Scalar> const& parameters,
                    NonlinearityActivations<Scalar> const& a, Matrix<Scalar>& dy, NamedMatrices<Scalar>& gradients,
                    Matrix<Scalar>& dx) {
  if (with_relu) relu_backward(a.output, dy);
  if (norm) {
    norm->backward(parameters, dy, a.input, a.norm, gradients, dx);
  } else {
    dx.swap(dy);
  }
}

}  // namespace foldnorm::training
