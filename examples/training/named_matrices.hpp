// SPDX-License-Identifier: MIT
// training/named_matrices.hpp -- a model's parameters, gradients or optimizer state: matrices by name, vectors m x 1.
#pragma once

#include <foldnorm/core/types.hpp>

#include <cmath>
#include <map>
#include <random>
#include <string>

namespace foldnorm::training {

// Ordered by name, so that every walk over it (initialisation, sums, updates) has one order.
template <real_scalar Scalar>
using NamedMatrices = std::map<std::string, Matrix<Scalar>>;

template <real_scalar Scalar>
NamedMatrices<Scalar> zeros_like(NamedMatrices<Scalar> const& matrices) {
  NamedMatrices<Scalar> zeros;
  for (auto const& [name, matrix] : matrices) {
    zeros.emplace(name, Matrix<Scalar>::Zero(matrix.rows(), matrix.cols()));
  }
  return zeros;
}

template <real_scalar Scalar>
void set_zero(NamedMatrices<Scalar>& matrices) {
  for (auto& [name, matrix] : matrices) matrix.setZero();
}

// sum += other. Precondition: the same names and shapes.
template <real_scalar Scalar>
void add_to(NamedMatrices<Scalar>& sum, NamedMatrices<Scalar> const& other) {
  for (auto& [name, matrix] : sum) matrix += other.at(name);
}

template <real_scalar Scalar>
Index parameter_count(NamedMatrices<Scalar> const& matrices) {
  Index count = 0;
  for (auto const& [name, matrix] : matrices) count += matrix.size();
  return count;
}

// Independent normal entries of the given standard deviation.
template <real_scalar Scalar>
Matrix<Scalar> random_matrix(Index rows, Index columns, double deviation, std::mt19937_64& random) {
  std::normal_distribution<double> normal(0, deviation);
  return Matrix<Scalar>::NullaryExpr(rows, columns, [&] { return static_cast<Scalar>(normal(random)); });
}

}  // namespace foldnorm::training
