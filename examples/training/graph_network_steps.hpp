// SPDX-License-Identifier: MIT
// training/graph_network_steps.hpp -- forward and backward of every operator of a GraphNetwork. Included where it is
// instantiated, instances.cpp.
#pragma once

#include <foldnorm/kernels/activation.hpp>
#include <foldnorm/kernels/center.hpp>

#include "graph_network.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <type_traits>

namespace foldnorm::training {

namespace detail {

inline ActivationKind activation_kind(Operator op) {
  if (op == Operator::relu) return ActivationKind::relu;
  return op == Operator::tanh ? ActivationKind::tanh : ActivationKind::sigmoid;
}

// A matrix with the tokens of each sample below one another.
template <class M>
auto by_sample(M& matrix, Index tokens) {
  using Seen = std::conditional_t<std::is_const_v<M>, std::remove_const_t<M> const, M>;
  Index const size = matrix.rows() * tokens;
  return Eigen::Map<Seen>(matrix.data(), size, matrix.size() / size);
}

class AddSeconds {
 public:
  explicit AddSeconds(double& to) : to_(to) {}
  ~AddSeconds() { to_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  AddSeconds(AddSeconds const&) = delete;
  AddSeconds& operator=(AddSeconds const&) = delete;

 private:
  double& to_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace detail

template <real_scalar Scalar>
GraphNetwork<Scalar>::GraphNetwork(Graph graph, NamedMatrices<Scalar> values, Options options)
    : parameters(std::move(values)),
      graph_(std::move(graph)),
      options_(options),
      tokens_(token_counts(graph_, options.tokens)) {
  Index inputs = 0, outputs = 0;
  for (Node const& node : graph_.nodes()) {
    check(node);
    bool trains = std::ranges::any_of(node.parameters, [](ParameterId id) { return id.present(); });
    for (NodeId const input : node.inputs) trains = trains || trains_[at(input)];
    trains_.push_back(trains);
    if (node.op == Operator::input || node.op == Operator::ids) {
      ++inputs;
      input_features_ = node.op == Operator::ids ? 1 : node.features;
    } else if (node.op == Operator::output) {
      ++outputs;
      output_ = node.inputs[0];
    }
  }
  if (inputs != 1 || outputs != 1) throw std::invalid_argument("GraphNetwork: one input and one output are needed");
}

template <real_scalar Scalar>
void GraphNetwork<Scalar>::check(Node const& node) const {
  using enum Operator;
  constexpr Operator known[] = {input,          ids,         linear,       embedding, add_parameter, scale_channels,
                                batch_norm,     add,         multiply,     identity,  dropout,       drop_path,
                                relu,           tanh,        sigmoid,      center,    layer_norm,    rms_norm,
                                slice_features, mean_tokens, merge_tokens, attention, output};
  if (std::ranges::find(known, node.op) == std::end(known)) refuse(node, "cannot be trained here");
  for (NodeId const other : node.inputs) {
    if (tokens_[at(other)] != tokens_[at(node.inputs[0])]) refuse(node, "operands of different tokens");
  }
  for (ParameterId const id : node.parameters) {
    if (!id.present()) continue;
    ParameterDescription const& expected = graph_.parameter(id);
    auto const found = parameters.find(expected.name);
    if (found == parameters.end()) refuse(node, "there is no parameter " + expected.name);
    Index const columns = expected.per_token ? tokens_[at(node.inputs[0])] : expected.columns;
    if (found->second.rows() != expected.rows || found->second.cols() != columns) {
      refuse(node, expected.name + " is of another size than the graph says");
    }
  }
  if (node.op == layer_norm || node.op == rms_norm) {
    Norm const expected = norm(node);
    if (name(node, Key::gamma) != expected.gamma() || name(node, Key::beta) != expected.beta()) {
      refuse(node, "gamma and beta are to be called PREFIX.gamma and PREFIX.beta");
    }
  }
  if (node.op == linear && graph_.parameter(node.parameter(Key::weight)).is_table) refuse(node, "tied to an embedding");
}

template <real_scalar Scalar>
Norm GraphNetwork<Scalar>::norm(Node const& node) const {
  std::string const gamma = name(node, Key::gamma);
  return {.name = node.name,
          .kind = node.op == Operator::layer_norm ? NormKind::layer_norm : NormKind::rms_norm,
          .norm_size = node.features / node.count(Key::groups),
          .affine = !gamma.empty(),
          .eps = node.number(Key::eps),
          .shared_name = gamma.substr(0, gamma.rfind(".gamma"))};
}

template <real_scalar Scalar>
Matrix<Scalar> const& GraphNetwork<Scalar>::forward(ConstMatrixRef<Scalar> x, Activations& a, Pass pass) const {
  a.steps.resize(graph_.nodes().size());
  for (std::size_t n = 0; n < a.steps.size(); ++n) forward_step(graph_.nodes()[n], n, x, a, pass);
  return a.steps[at(output_)].value;
}

// Factors of every value: 1 / (1 - p) with probability 1 - p, else 0; in stochastic depth one for a whole sample.
template <real_scalar Scalar>
void GraphNetwork<Scalar>::draw_factors(Node const& node, Index samples, Activations& a,
                                        Matrix<Scalar>& factors) const {
  double const p = node.number(Key::p);
  auto const drawn = [&] {  // the same for float and double
    double const uniform = static_cast<double>(a.random() >> 11) * 0x1p-53;
    return uniform < p ? Scalar(0) : static_cast<Scalar>(1 / (1 - p));
  };
  Index const tokens = tokens_[at(node.inputs[0])];
  factors.resize(node.features, samples * tokens);
  if (node.op == Operator::dropout) {
    for (Index i = 0; i < factors.size(); ++i) factors(i) = drawn();
  } else {
    for (Index j = 0; j < samples; ++j) factors.middleCols(j * tokens, tokens).setConstant(drawn());
  }
}

template <real_scalar Scalar>
void GraphNetwork<Scalar>::forward_step(Node const& node, std::size_t n, ConstMatrixRef<Scalar> const& x,
                                        Activations& a, Pass pass) const {
  Matrix<Scalar>& y = a.steps[n].value;
  auto const in = [&](std::size_t i) -> Matrix<Scalar> const& { return a.steps[at(node.inputs[i])].value; };
  Index const samples = x.cols() / options_.tokens;
  switch (node.op) {
    case Operator::input:
    case Operator::ids:
      y = x;
      break;
    case Operator::linear:
      if (node.parameter(Key::bias).present()) {
        linear(node).template forward<Scalar>(parameters, in(0), y);
      } else {
        y.noalias() = parameter(node, Key::weight) * in(0);
      }
      break;
    case Operator::embedding:
      y.resize(node.features, in(0).cols());
      for (Index j = 0; j < y.cols(); ++j) y.col(j) = parameter(node, Key::table).col(static_cast<Index>(in(0)(j)));
      break;
    case Operator::add_parameter:
      y = in(0);
      detail::by_sample(y, parameter(node, Key::value).cols()).colwise() += parameter(node, Key::value).reshaped();
      break;
    case Operator::scale_channels:
      y = parameter(node, Key::value).col(0).asDiagonal() * in(0);
      break;
    case Operator::batch_norm:
      y = (parameter(node, Key::scale).col(0).asDiagonal() * in(0)).colwise() + parameter(node, Key::shift).col(0);
      break;
    case Operator::add:
      y = in(0) + in(1);
      for (std::size_t i = 2; i < node.inputs.size(); ++i) y += in(i);
      break;
    case Operator::multiply:
      y = in(0).cwiseProduct(in(1));
      break;
    case Operator::dropout:
    case Operator::drop_path:
      if (pass == Pass::inference || node.number(Key::p) == 0) {
        y = in(0);
        break;
      }
      draw_factors(node, samples, a, a.steps[n].kept);
      y = in(0).cwiseProduct(a.steps[n].kept);
      break;
    case Operator::relu:
    case Operator::tanh:
    case Operator::sigmoid:
      y.resize(node.features, in(0).cols());
      activate<Scalar>(detail::activation_kind(node.op), in(0), y);
      break;
    case Operator::center:
      y.resize(node.features, in(0).cols());
      foldnorm::center(in(0), MatrixRef<Scalar>(y), Accuracy::fast);
      break;
    case Operator::layer_norm:
    case Operator::rms_norm: {
      detail::AddSeconds const timer(a.norm_seconds);
      norm(node).forward(parameters, in(0), y, a.steps[n].norm, pass);
      break;
    }
    case Operator::slice_features:
      y = in(0).middleRows(node.count(Key::start), node.count(Key::length));
      break;
    case Operator::mean_tokens: {
      Index const tokens = tokens_[at(node.inputs[0])];
      y.resize(node.features, samples);
      for (Index j = 0; j < samples; ++j) y.col(j) = in(0).middleCols(j * tokens, tokens).rowwise().mean();
      break;
    }
    case Operator::merge_tokens:
      y = in(0).reshaped(node.features, in(0).size() / node.features);
      break;
    case Operator::attention:
      attention(node).forward(operands(node, a.steps), y, a.steps[n].kept);
      break;
    default:  // identity; an output's value is what it reads
      if (node.op == Operator::identity) y = in(0);
  }
}

template <real_scalar Scalar>
void GraphNetwork<Scalar>::backward(ConstMatrixRef<Scalar>, Matrix<Scalar> const& doutput, Activations& a,
                                    NamedMatrices<Scalar>& gradients) const {
  for (typename Activations::Step& step : a.steps) step.reached = false;
  a.steps[at(output_)].gradient = doutput;
  a.steps[at(output_)].reached = true;
  for (std::size_t n = a.steps.size(); n-- > 0;) {
    if (trains_[n] && a.steps[n].reached) backward_step(graph_.nodes()[n], n, a, gradients);
  }
}

template <real_scalar Scalar>
void GraphNetwork<Scalar>::backward_step(Node const& node, std::size_t n, Activations& a,
                                         NamedMatrices<Scalar>& gradients) const {
  Matrix<Scalar> const& dy = a.steps[n].gradient;
  auto const in = [&](std::size_t i) -> Matrix<Scalar> const& { return a.steps[at(node.inputs[i])].value; };
  auto const pass_back = [&](std::size_t i, auto const& dx) {
    if (!trains_[at(node.inputs[i])]) return;
    auto& step = a.steps[at(node.inputs[i])];
    step.reached ? step.gradient.noalias() += dx : step.gradient.noalias() = dx;
    step.reached = true;
  };
  auto const gradient = [&](Key role) -> Matrix<Scalar>& { return gradients.at(name(node, role)); };
  Matrix<Scalar> dx;
  switch (node.op) {
    case Operator::linear:
      gradient(Key::weight).noalias() += dy * in(0).transpose();
      if (node.parameter(Key::bias).present()) gradient(Key::bias) += dy.rowwise().sum();
      pass_back(0, parameter(node, Key::weight).transpose() * dy);
      break;
    case Operator::embedding:
      for (Index j = 0; j < dy.cols(); ++j) gradient(Key::table).col(static_cast<Index>(in(0)(j))) += dy.col(j);
      break;
    case Operator::add_parameter: {
      Matrix<Scalar>& dvalue = gradient(Key::value);
      dvalue.reshaped() += detail::by_sample(dy, dvalue.cols()).rowwise().sum();
      pass_back(0, dy);
      break;
    }
    case Operator::scale_channels:
      gradient(Key::value) += dy.cwiseProduct(in(0)).rowwise().sum();
      pass_back(0, parameter(node, Key::value).col(0).asDiagonal() * dy);
      break;
    case Operator::batch_norm:
      gradient(Key::scale) += dy.cwiseProduct(in(0)).rowwise().sum();
      gradient(Key::shift) += dy.rowwise().sum();
      pass_back(0, parameter(node, Key::scale).col(0).asDiagonal() * dy);
      break;
    case Operator::add:
      for (std::size_t i = 0; i < node.inputs.size(); ++i) pass_back(i, dy);
      break;
    case Operator::multiply:
      pass_back(0, dy.cwiseProduct(in(1)));
      pass_back(1, dy.cwiseProduct(in(0)));
      break;
    case Operator::dropout:
    case Operator::drop_path:
      node.number(Key::p) == 0 ? pass_back(0, dy) : pass_back(0, dy.cwiseProduct(a.steps[n].kept));
      break;
    case Operator::identity:
      pass_back(0, dy);
      break;
    case Operator::relu:
    case Operator::tanh:
    case Operator::sigmoid:
      dx.resize(dy.rows(), dy.cols());
      activate_backward<Scalar>(detail::activation_kind(node.op), dy, in(0), dx);
      pass_back(0, dx);
      break;
    case Operator::center:
      dx.resize(dy.rows(), dy.cols());
      foldnorm::center(dy, MatrixRef<Scalar>(dx), Accuracy::fast);
      pass_back(0, dx);
      break;
    case Operator::layer_norm:
    case Operator::rms_norm: {
      detail::AddSeconds const timer(a.norm_seconds);
      norm(node).backward(parameters, dy, in(0), a.steps[n].norm, gradients, dx);
      pass_back(0, dx);
      break;
    }
    case Operator::slice_features: {
      auto& step = a.steps[at(node.inputs[0])];
      if (!step.reached) step.gradient.setZero(step.value.rows(), step.value.cols());
      step.gradient.middleRows(node.count(Key::start), node.count(Key::length)) += dy;
      step.reached = true;
      break;
    }
    case Operator::mean_tokens: {
      Index const tokens = tokens_[at(node.inputs[0])];
      dx.resize(dy.rows(), dy.cols() * tokens);
      for (Index j = 0; j < dy.cols(); ++j) {
        dx.middleCols(j * tokens, tokens).colwise() = dy.col(j) / static_cast<Scalar>(tokens);
      }
      pass_back(0, dx);
      break;
    }
    case Operator::merge_tokens:
      pass_back(0, dy.reshaped(in(0).rows(), in(0).cols()));
      break;
    case Operator::attention: {
      Matrix<Scalar> dkeys(in(1).rows(), in(1).cols()), dvalues(in(2).rows(), in(2).cols());
      dx.resize(in(0).rows(), in(0).cols());
      attention(node).backward(dy, operands(node, a.steps), a.steps[n].kept, {dx, dkeys, dvalues});
      pass_back(0, dx);
      pass_back(1, dkeys);
      pass_back(2, dvalues);
      break;
    }
    default:
      break;
  }
}

}  // namespace foldnorm::training
