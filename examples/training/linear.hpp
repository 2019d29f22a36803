// SPDX-License-Identifier: MIT
// training/linear.hpp -- y = W x + b on named parameters, forward and backward.
//
//   dW += dy x^T,   db += dy 1,   dx = W^T dy
#pragma once

#include "named_matrices.hpp"

#include <cmath>
#include <random>
#include <string>

namespace foldnorm::training {

struct Linear {
  std::string weight;  // out x in
  std::string bias;    // out x 1

  // Weights of variance gain / in (gain 2 keeps the scale through a ReLU), biases zero.
  template <real_scalar Scalar>
  void initialize(Index out, Index in, double gain, std::mt19937_64& random, NamedMatrices<Scalar>& parameters) const {
    parameters[weight] = random_matrix<Scalar>(out, in, std::sqrt(gain / static_cast<double>(in)), random);
    parameters[bias] = Matrix<Scalar>::Zero(out, 1);
  }

  // x: in x n, y: out x n (resized); they must not share memory.
  template <real_scalar Scalar>
  void forward(NamedMatrices<Scalar> const& parameters, ConstMatrixRef<Scalar> x, Matrix<Scalar>& y) const;

  // Adds to the gradients of weight and bias. x as in forward, dy: out x n.
  template <real_scalar Scalar>
  void add_gradients(ConstMatrixRef<Scalar> x, Matrix<Scalar> const& dy, NamedMatrices<Scalar>& gradients) const;

  // As add_gradients, and dx: in x n (resized), which must not share memory with dy.
  template <real_scalar Scalar>
  void backward(NamedMatrices<Scalar> const& parameters, ConstMatrixRef<Scalar> x, Matrix<Scalar> const& dy,
                NamedMatrices<Scalar>& gradients, Matrix<Scalar>& dx) const;
};

// Outside of the struct, and so not inline: compiled once, in instances.cpp.
template <real_scalar Scalar>
void Linear::forward(NamedMatrices<Scalar> const& parameters, ConstMatrixRef<Scalar> x, Matrix<Scalar>& y) const {
  Matrix<Scalar> const& w = parameters.at(weight);
  y.resize(w.rows(), x.cols());
  y.noalias() = w * x;
  y.colwise() += parameters.at(bias).col(0);
}

template <real_scalar Scalar>
void Linear::add_gradients(ConstMatrixRef<Scalar> x, Matrix<Scalar> const& dy, NamedMatrices<Scalar>& gradients) const {
  gradients.at(weight).noalias() += dy * x.transpose();
  gradients.at(bias) += dy.rowwise().sum();
}

template <real_scalar Scalar>
void Linear::backward(NamedMatrices<Scalar> const& parameters, ConstMatrixRef<Scalar> x, Matrix<Scalar> const& dy,
                      NamedMatrices<Scalar>& gradients, Matrix<Scalar>& dx) const {
  add_gradients<Scalar>(x, dy, gradients);
  dx.resize(x.rows(), x.cols());
  dx.noalias() = parameters.at(weight).transpose() * dy;
}

extern template void Linear::forward(NamedMatrices<float> const&, ConstMatrixRef<float>, Matrix<float>&) const;
extern template void Linear::add_gradients(ConstMatrixRef<float>, Matrix<float> const&, NamedMatrices<float>&) const;
extern template void Linear::backward(NamedMatrices<float> const&, ConstMatrixRef<float>, Matrix<float> const&,
                                      NamedMatrices<float>&, Matrix<float>&) const;
extern template void Linear::forward(NamedMatrices<double> const&, ConstMatrixRef<double>, Matrix<double>&) const;
extern template void Linear::add_gradients(ConstMatrixRef<double>, Matrix<double> const&, NamedMatrices<double>&) const;
extern template void Linear::backward(NamedMatrices<double> const&, ConstMatrixRef<double>, Matrix<double> const&,
                                      NamedMatrices<double>&, Matrix<double>&) const;

}  // namespace foldnorm::training
