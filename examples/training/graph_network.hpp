// SPDX-License-Identifier: MIT
// training/graph_network.hpp -- a layer graph as a network to train: forward and backward over batches, in float or
// double.
//
// A network is written down once, as a graph; what the library finds out about the graph (which norms fold, what to
// center) then holds for what is trained. Columns are the tokens of the samples, sample after sample. Dropout and
// stochastic depth act in training passes, with random numbers that the caller seeds.
#pragma once

#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/token_counts.hpp>

#include "attention.hpp"
#include "linear.hpp"
#include "named_matrices.hpp"
#include "norm.hpp"

#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::training {

struct GraphNetworkOptions {
  Index tokens = 1;     // of the input, in each sample
  bool causal = false;  // no attention looks at later tokens
};

template <real_scalar Scalar_>
class GraphNetwork {
 public:
  using Scalar = Scalar_;
  using Options = GraphNetworkOptions;

  // What one forward pass leaves for the backward pass; reuse it to save the allocations.
  struct Activations {
    struct Step {
      Matrix<Scalar> value, gradient;
      bool reached = false;  // by the backward pass: the gradient holds something
      Matrix<Scalar> kept;   // attention's probabilities, dropout's factors
      NormActivations<Scalar> norm;
    };
    std::vector<Step> steps;  // by node
    std::mt19937_64 random;   // of dropout and stochastic depth
    double norm_seconds = 0;  // in norms, forward and backward, since it was last set to 0
  };

  // Throws std::invalid_argument for a graph without exactly one input (or ids) and one output, an operator that cannot
  // be trained here, a norm whose gamma and beta are not called PREFIX.gamma and PREFIX.beta, or parameters that
  // are missing.
  GraphNetwork(Graph graph, NamedMatrices<Scalar> values, Options options = {});

  Graph const& describe() const { return graph_; }
  Index input_features() const { return input_features_; }
  Matrix<Scalar> const& logits(Activations const& a) const { return a.steps[at(output_)].value; }

  // x: input_features x (tokens n), for ids 1 x (tokens n). Returns the output's value, which lives in the activations.
  Matrix<Scalar> const& forward(ConstMatrixRef<Scalar> x, Activations& a, Pass pass = Pass::training) const;

  // Adds the gradients of the loss to `gradients` (names and shapes of `parameters`), given the loss's gradient with
  // respect to the output; x and activations of the last forward pass, one for training.
  void backward(ConstMatrixRef<Scalar> x, Matrix<Scalar> const& doutput, Activations& a,
                NamedMatrices<Scalar>& gradients) const;

  static double take_norm_seconds(Activations& a) { return std::exchange(a.norm_seconds, 0); }

  NamedMatrices<Scalar> parameters;

 private:
  using Steps = std::vector<typename Activations::Step>;

  static std::size_t at(NodeId id) { return static_cast<std::size_t>(id.index); }
  [[noreturn]] static void refuse(Node const& node, std::string const& why) {
    throw std::invalid_argument("GraphNetwork: " + node_text(node) + ": " + why);
  }
  std::string name(Node const& node, Key role) const {
    ParameterId const id = node.parameter(role);
    return id.present() ? graph_.parameter(id).name : "";
  }
  Matrix<Scalar> const& parameter(Node const& node, Key role) const { return parameters.at(name(node, role)); }
  Linear linear(Node const& node) const { return {name(node, Key::weight), name(node, Key::bias)}; }
  Norm norm(Node const& node) const;
  Attention attention(Node const& node) const {
    return {.heads = node.count(Key::heads), .tokens = tokens_[at(node.inputs[0])], .causal = options_.causal};
  }
  typename Attention::Operands<Scalar> operands(Node const& node, Steps const& steps) const {
    auto const value = [&](std::size_t i) -> auto const& { return steps[at(node.inputs[i])].value; };
    return {value(0), value(1), value(2)};
  }

  void check(Node const& node) const;
  void forward_step(Node const& node, std::size_t n, ConstMatrixRef<Scalar> const& x, Activations& a, Pass pass) const;
  void backward_step(Node const& node, std::size_t n, Activations& a, NamedMatrices<Scalar>& gradients) const;
  void draw_factors(Node const& node, Index samples, Activations& a, Matrix<Scalar>& factors) const;

  Graph graph_;
  Options options_;
  std::vector<Index> tokens_;  // of a sample, by node
  std::vector<bool> trains_;   // by node: does anything that it depends on change in training?
  Index input_features_ = 0;
  NodeId output_;  // what the output reads
};

extern template class GraphNetwork<float>;
extern template class GraphNetwork<double>;

}  // namespace foldnorm::training
