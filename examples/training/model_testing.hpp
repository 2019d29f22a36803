// SPDX-License-Identifier: MIT
// training/model_testing.hpp -- what the tests of models share: central differences, in double, of the cross-entropy.
#pragma once

#include "../../tests/catch.hpp"

#include "training/loss.hpp"
#include "training/named_matrices.hpp"

#include <random>
#include <vector>

namespace foldnorm::training {

using M = Matrix<double>;

// (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / 12h with h = 1e-5: some 1e-11 from rounding, and h^4 = 1e-20
// times the fifth derivative, 1 / s^5 where a norm's group has deviation s. (Two points leave h^2 / s^3: 1e-5 for the s
// of some hundredths that random groups of three or four features do have.)
template <class Loss>
M central_differences(M& at, Loss const& loss) {
  constexpr double h = 1e-5;
  M gradient(at.rows(), at.cols());
  for (Index i = 0; i < at.size(); ++i) {
    double const x = at(i);
    auto const difference = [&](double step) {
      at(i) = x + step;
      double const above = loss();
      at(i) = x - step;
      return above - loss();
    };
    gradient(i) = (8 * difference(h) - difference(2 * h)) / (12 * h);
    at(i) = x;
  }
  return gradient;
}

inline void check_close(M const& a, M const& b, double tolerance) {
  REQUIRE(a.rows() == b.rows());
  REQUIRE(a.cols() == b.cols());
  CHECK((a - b).cwiseAbs().maxCoeff() <= tolerance * (1 + b.cwiseAbs().maxCoeff()));
}

inline constexpr double gradient_tolerance = 1e-8;  // a hundred times the error of the differences
inline constexpr double graph_tolerance = 1e-13;    // both in double, networks of about ten layers

inline M random_normal(Index rows, Index columns, std::mt19937_64& random) {
  return random_matrix<double>(rows, columns, 1, random);
}

// Gains, shifts and biases away from the 0 and 1 of the initialisation, which would hide mistakes.
inline void scatter(NamedMatrices<double>& parameters, std::mt19937_64& random) {
  for (auto& [name, matrix] : parameters) matrix += 0.3 * random_normal(matrix.rows(), matrix.cols(), random);
}

// The gradients of the cross-entropy with respect to every parameter of a model.
template <class Model>
void check_model_gradients(Model& model, M const& x, std::vector<int> const& labels) {
  typename Model::Activations activations;
  M dlogits;
  auto const loss = [&] {
    if constexpr (requires { activations.random; }) activations.random.seed(1);
    return softmax_cross_entropy(model.forward(x, activations), labels, 1.0, dlogits).loss;
  };
  loss();
  NamedMatrices<double> gradients = zeros_like(model.parameters);
  M const dlogits_kept = dlogits;
  model.backward(x, dlogits_kept, activations, gradients);
  for (auto& [name, matrix] : model.parameters) {
    INFO(name);
    check_close(gradients.at(name), central_differences(matrix, loss), gradient_tolerance);
  }
}

}  // namespace foldnorm::training
