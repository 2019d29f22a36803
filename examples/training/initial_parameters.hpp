// SPDX-License-Identifier: MIT
// training/initial_parameters.hpp -- where the training of a layer graph starts.
#pragma once

#include <foldnorm/graph/graph.hpp>

#include "named_matrices.hpp"

#include <cmath>
#include <random>

namespace foldnorm::training {

// Weights: normal of variance 1 / inputs, 2 / inputs where a ReLU reads the layer; tables and what is added to streams:
// normal of deviation 0.1; gains 1, biases and shifts 0. In the order of first use, so that a graph and a seed mean one
// network, in float and in double. tokens: of a parameter with a column per token.
template <real_scalar Scalar>
NamedMatrices<Scalar> initial_parameters(Graph const& graph, std::mt19937_64& random, Index tokens = 1) {
  std::vector<bool> feeds_relu(graph.nodes().size(), false);
  for (Node const& node : graph.nodes()) {
    if (node.op == Operator::relu) feeds_relu[static_cast<std::size_t>(node.inputs[0].index)] = true;
  }
  NamedMatrices<Scalar> parameters;
  for (ParameterDescription const& parameter : graph.parameters()) {
    Index const columns = parameter.per_token ? tokens : parameter.columns;
    Matrix<Scalar>& value = parameters[parameter.name];
    ParameterUse const& use = parameter.uses[0];
    switch (use.role) {
      case Key::weight: {
        double const gain = feeds_relu[static_cast<std::size_t>(use.node.index)] ? 2 : 1;
        value = random_matrix<Scalar>(parameter.rows, columns, std::sqrt(gain / static_cast<double>(columns)), random);
        break;
      }
      case Key::table:
      case Key::value: {
        bool const scales = graph.node(use.node).op == Operator::scale_channels;
        value = scales ? Matrix<Scalar>(Matrix<Scalar>::Ones(parameter.rows, columns))
                       : random_matrix<Scalar>(parameter.rows, columns, 0.1, random);
        break;
      }
      case Key::gamma:
      case Key::scale:
        value.setOnes(parameter.rows, columns);
        break;
      default:
        value.setZero(parameter.rows, columns);
    }
  }
  return parameters;
}

}  // namespace foldnorm::training
