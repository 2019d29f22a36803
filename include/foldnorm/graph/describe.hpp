// SPDX-License-Identifier: MIT
// foldnorm/graph/describe.hpp -- a chain of layers as a layer graph with its parameters: to draw it, print it, find
// what folds in it, and run it by the reference interpreter.
#pragma once

#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/layers/sequential.hpp>

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace foldnorm::inline FOLDNORM_ABI {

struct DescribedNetwork {
  Graph graph;
  Parameters parameters;
};

namespace detail {

template <real_scalar Scalar>
NodeId describe_layer(Linear<Scalar> const& layer, std::string const& name, NodeId x, DescribedNetwork& to) {
  to.parameters.set(name + ".weight", layer.weight);
  to.parameters.set(name + ".bias", layer.bias);
  return to.graph.linear(name, x, layer.out_features(), name + ".weight", name + ".bias");
}

template <real_scalar Scalar>
NodeId describe_layer(CenteredLinear<Scalar> const& layer, std::string const& name, NodeId x, DescribedNetwork& to) {
  return describe_layer(layer.centered(), name, x, to);
}

template <real_scalar Scalar, NormKind kind>
NodeId describe_layer(NormLayer<Scalar, kind> const& layer, std::string const& name, NodeId x, DescribedNetwork& to) {
  NormKeys const keys{.eps = layer.options().eps, .groups = layer.groups()};
  std::string gamma, beta;
  if (layer.options().affine) {
    gamma = name + ".gamma";
    beta = name + ".beta";
    to.parameters.set(gamma, layer.gamma);
    to.parameters.set(beta, layer.beta);
  }
  return kind == NormKind::layer_norm ? to.graph.layer_norm(name, x, gamma, beta, keys)
                                      : to.graph.rms_norm(name, x, gamma, beta, keys);
}

template <real_scalar Scalar>
NodeId describe_layer(Activation<Scalar> const& layer, std::string const& name, NodeId x, DescribedNetwork& to) {
  switch (layer.kind()) {
    case ActivationKind::relu:
      return to.graph.relu(name, x);
    case ActivationKind::tanh:
      return to.graph.tanh(name, x);
    default:
      return to.graph.sigmoid(name, x);
  }
}

template <real_scalar Scalar>
NodeId describe_layer(PqNorm<Scalar> const& layer, std::string const& name, NodeId x, DescribedNetwork& to) {
  return to.graph.opaque(name, {x}, layer.out_features());
}

}  // namespace detail

// Nodes "x", one per layer by its name (layer_name), and "y"; parameters "NAME.weight", "NAME.bias", "NAME.gamma",
// "NAME.beta"; of a CenteredLinear the centered weights. (p,q)-norms, which the graph does not know, become opaque.
// Throws std::invalid_argument for a chain without layers, graph_error for one without features.
template <real_scalar Scalar>
DescribedNetwork describe(Sequential<Scalar> const& network) {
  if (network.layers().empty()) detail::throw_invalid("describe: network", " has no layers");
  DescribedNetwork described;
  NodeId value = described.graph.input("x", network.in_features());
  for (std::size_t i = 0; i < network.layers().size(); ++i) {
    value = std::visit(
        [&](auto const& layer) { return detail::describe_layer(layer, network.layer_name(i), value, described); },
        network.layers()[i]);
  }
  described.graph.output("y", value);
  return described;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
