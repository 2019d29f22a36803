// SPDX-License-Identifier: MIT
// foldnorm/graph/evaluate.hpp -- the reference interpreter: what a graph computes, in double or float, slowly and
// plainly.
//
// The meaning of every operator is docs/layer_graph_format.md, section 1. For tests, certificates and trying things
// out; a program that has to be fast calls the kernels itself.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/graph/token_counts.hpp>
#include <foldnorm/kernels/center.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include <cmath>
#include <cstddef>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// Values by the name of an input (features x T), ids (1 x T integers in [0, vocab)) or output node.
template <real_scalar Scalar>
using ValuesByName = std::map<std::string, Matrix<Scalar>, std::less<>>;
using NamedValues = ValuesByName<double>;

namespace detail {

// One run over one graph. Everything is checked, node by node, before that node is computed. (A template also in the
// sense that a program that never runs a graph does not pay for compiling this: more than for all the rest.)
template <real_scalar Scalar>
class Evaluation {
 public:
  Evaluation(Graph const& graph, Parameters const& parameters, NamedValues const& inputs)
      : graph_(graph), parameters_(parameters), inputs_(inputs) {
    std::vector<Index> const tokens = count_tokens(graph, [&](Node const& node) { return given(node).cols(); });
    values_.reserve(graph.nodes().size());
    for (std::size_t n = 0; n < tokens.size(); ++n) values_.push_back(value(graph.nodes()[n], tokens[n]));
  }

  std::vector<Matrix<Scalar>> take() && { return std::move(values_); }

 private:
  Matrix<double> const& given(Node const& node) const {
    auto const found = inputs_.find(node.name);
    require(found != inputs_.end(), node, "no value is given");
    Matrix<double> const& value = found->second;
    Index const rows = node.op == Operator::ids ? 1 : node.features;
    require(value.rows() == rows, node,
            shape_text(value.rows(), value.cols()) + " given, expected " + std::to_string(rows) + " rows");
    if (node.op == Operator::ids) {
      double const vocab = node.number(Key::vocab);
      for (double const id : value.reshaped()) {
        require(std::floor(id) == id && id >= 0 && id < vocab, node,
                "id " + std::to_string(id) + ", expected an integer below vocab");
      }
    }
    return value;
  }

  Matrix<Scalar> const& in(Node const& node, std::size_t i) const {
    return values_[static_cast<std::size_t>(node.inputs[i].index)];
  }

  // The parameter in a role, checked; an empty matrix where the node has none.
  Matrix<Scalar> parameter(Node const& node, Key role, Index tokens = 0) const {
    ParameterId const id = node.parameter(role);
    if (!id.present()) return {};
    ParameterDescription const& description = graph_.parameter(id);
    require(parameters_.contains(description.name), node, "there is no parameter " + description.name);
    Matrix<Scalar> value = parameters_.as<Scalar>(description.name);
    Index const columns = description.per_token ? tokens : description.columns;
    require(value.rows() == description.rows && value.cols() == columns, node,
            description.name + " is " + shape_text(value.rows(), value.cols()) + ", expected " +
                shape_text(description.rows, columns));
    return value;
  }

  Matrix<Scalar> linear(Node const& node) const {
    Matrix<Scalar> const weight = parameter(node, Key::weight);
    bool const is_head = graph_.parameter(node.parameter(Key::weight)).is_table;
    Matrix<Scalar> y =
        is_head ? Matrix<Scalar>(weight.transpose() * in(node, 0)) : Matrix<Scalar>(weight * in(node, 0));
    if (node.parameter(Key::bias).present()) y.colwise() += parameter(node, Key::bias).col(0);
    return y;
  }

  Matrix<Scalar> conv(Node const& node) const {
    Matrix<Scalar> const weight = parameter(node, Key::weight);
    Matrix<Scalar> const& x = in(node, 0);
    Index const kernel = node.count(Key::kernel), groups = node.count(Key::groups);
    Index const group_in = x.rows() / groups, group_out = node.features / groups;
    Matrix<Scalar> y = Matrix<Scalar>::Zero(node.features, x.cols());
    for (Index j = 0; j < x.cols(); ++j) {
      for (Index t = 0; t < kernel; ++t) {
        Index const source = j + t - (kernel - 1) / 2;
        if (source < 0 || source >= x.cols()) continue;  // zeros outside
        for (Index g = 0; g < groups; ++g) {
          y.col(j).segment(g * group_out, group_out) += weight.block(g * group_out, t * group_in, group_out, group_in) *
                                                        x.col(source).segment(g * group_in, group_in);
        }
      }
    }
    if (node.parameter(Key::bias).present()) y.colwise() += parameter(node, Key::bias).col(0);
    return y;
  }

  Matrix<Scalar> embedding(Node const& node) const {
    Matrix<Scalar> const table = parameter(node, Key::table);
    Matrix<double> const& ids = given(graph_.node(node.inputs[0]));  // a float has no 2^24 + 1
    Matrix<Scalar> y(node.features, ids.cols());
    for (Index j = 0; j < ids.cols(); ++j) y.col(j) = table.col(static_cast<Index>(ids(0, j)));
    return y;
  }

  Matrix<Scalar> add_parameter(Node const& node) const {
    Matrix<Scalar> y = in(node, 0);
    Matrix<Scalar> const value = parameter(node, Key::value, y.cols());
    if (node.count(Key::per_token) == 1) {
      y += value;
    } else {
      y.colwise() += value.col(0);
    }
    return y;
  }

  template <class Combine>
  Matrix<Scalar> combine(Node const& node, Index tokens, Combine combine) const {
    auto const spread = [&](Matrix<Scalar> const& x) -> Matrix<Scalar> {
      return x.cols() == tokens ? x : Matrix<Scalar>(x.replicate(1, tokens));
    };
    Matrix<Scalar> y = spread(in(node, 0));
    for (std::size_t i = 1; i < node.inputs.size(); ++i)
      y = combine(y.array(), spread(in(node, i)).array()).matrix().eval();
    return y;
  }

  // Groups are short samples: features x tokens is the same memory as (features / groups) x (groups * tokens).
  template <class Normalize>
  Matrix<Scalar> norm(Node const& node, Normalize normalize) const {
    Matrix<Scalar> const& x = in(node, 0);
    Index const groups = node.count(Key::groups);
    Matrix<Scalar> y(x.rows(), x.cols());
    Eigen::Map<Matrix<Scalar> const> const x_groups(x.data(), x.rows() / groups, x.cols() * groups);
    Eigen::Map<Matrix<Scalar>> y_groups(y.data(), x_groups.rows(), x_groups.cols());
    normalize(x_groups, static_cast<Scalar>(node.number(Key::eps)), y_groups);
    if (node.parameter(Key::gamma).present()) y.array().colwise() *= parameter(node, Key::gamma).col(0).array();
    if (node.parameter(Key::beta).present()) y.colwise() += parameter(node, Key::beta).col(0);
    return y;
  }

  Matrix<Scalar> attention(Node const& node) const {
    Matrix<Scalar> const &q = in(node, 0), &k = in(node, 1), &v = in(node, 2);
    Index const heads = node.count(Key::heads);
    Index const length = q.rows() / heads, value_length = v.rows() / heads;
    Matrix<Scalar> y(v.rows(), q.cols());
    for (Index h = 0; h < heads; ++h) {
      Matrix<Scalar> const scores = k.middleRows(h * length, length).transpose() * q.middleRows(h * length, length) /
                                    std::sqrt(static_cast<Scalar>(length));
      y.middleRows(h * value_length, value_length) = v.middleRows(h * value_length, value_length) * softmax(scores);
    }
    return y;
  }

  static Matrix<Scalar> softmax(Matrix<Scalar> const& x) {
    Matrix<Scalar> y = (x.rowwise() - x.colwise().maxCoeff()).array().exp();
    y.array().rowwise() /= y.colwise().sum().array().eval();
    return y;
  }

  Matrix<Scalar> concat(Node const& node, Index tokens) const {
    Matrix<Scalar> y(node.features, tokens);
    bool const along_tokens = node.op == Operator::concat_tokens;
    Index begin = 0;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      Matrix<Scalar> const& x = in(node, i);
      y.block(along_tokens ? 0 : begin, along_tokens ? begin : 0, x.rows(), x.cols()) = x;
      begin += along_tokens ? x.cols() : x.rows();
    }
    return y;
  }

  Matrix<Scalar> value(Node const& node, Index tokens) const {
    switch (node.op) {
      case Operator::input:
      case Operator::ids:
        return given(node).template cast<Scalar>();
      case Operator::linear:
        return linear(node);
      case Operator::conv:
        return conv(node);
      case Operator::embedding:
        return embedding(node);
      case Operator::add_parameter:
        return add_parameter(node);
      case Operator::scale_channels:
        return parameter(node, Key::value).col(0).asDiagonal() * in(node, 0);
      case Operator::scale:
        return static_cast<Scalar>(node.number(Key::by)) * in(node, 0);
      case Operator::add:
        return combine(node, tokens, [](auto const& a, auto const& b) { return (a + b).eval(); });
      case Operator::subtract:
        return combine(node, tokens, [](auto const& a, auto const& b) { return (a - b).eval(); });
      case Operator::multiply:
        return combine(node, tokens, [](auto const& a, auto const& b) { return (a * b).eval(); });
      case Operator::relu:
        return in(node, 0).cwiseMax(0);
      case Operator::gelu:
        return in(node, 0).unaryExpr([](Scalar x) { return x * (1 + std::erf(x / std::sqrt(Scalar(2)))) / 2; });
      case Operator::silu:
        return in(node, 0).unaryExpr([](Scalar x) { return x / (1 + std::exp(-x)); });
      case Operator::tanh:
        return in(node, 0).unaryExpr([](Scalar x) { return std::tanh(x); });
      case Operator::sigmoid:
        return in(node, 0).unaryExpr([](Scalar x) { return 1 / (1 + std::exp(-x)); });
      case Operator::softmax:
        return softmax(in(node, 0));
      case Operator::center:
        return foldnorm::center(in(node, 0));
      case Operator::layer_norm:
        return norm(node, [](auto const& x, Scalar eps, auto& y) { foldnorm::layer_norm(x, none, none, eps, y); });
      case Operator::rms_norm:
        return norm(node, [](auto const& x, Scalar eps, auto& y) { foldnorm::rms_norm(x, none, none, eps, y); });
      case Operator::batch_norm:
        return (parameter(node, Key::scale).col(0).asDiagonal() * in(node, 0)).colwise() +
               parameter(node, Key::shift).col(0);
      case Operator::concat_tokens:
      case Operator::concat_features:
        return concat(node, tokens);
      case Operator::slice_features:
        return in(node, 0).middleRows(node.count(Key::start), node.count(Key::length));
      case Operator::mean_tokens:
        return in(node, 0).rowwise().mean();
      case Operator::max_tokens:
        return in(node, 0).rowwise().maxCoeff();
      case Operator::permute_tokens:
        return in(node, 0).rowwise().reverse();
      case Operator::merge_tokens:
        return in(node, 0).reshaped(node.features, tokens);  // neighbours in memory already
      case Operator::attention:
        return attention(node);
      case Operator::identity:
      case Operator::dropout:
      case Operator::drop_path:
      case Operator::output:
        return in(node, 0);
      case Operator::opaque:
        break;  // refused while counting tokens
    }
    detail::raise<graph_error>(node_text(node) + ": cannot be evaluated");
  }

  Graph const& graph_;
  Parameters const& parameters_;
  NamedValues const& inputs_;
  std::vector<Matrix<Scalar>> values_;  // by node
};

}  // namespace detail

// The value of every node, in the order of the graph, computed in Scalar. Throws std::invalid_argument (graph_error)
// that names the node if an input or parameter is missing or of the wrong size, an id lies outside of its vocabulary,
// tokens do not fit, or an operator is opaque.
template <real_scalar Scalar = double>
std::vector<Matrix<Scalar>> evaluate_nodes(Graph const& graph, Parameters const& parameters,
                                           NamedValues const& inputs) {
  return detail::Evaluation<Scalar>(graph, parameters, inputs).take();
}

// The outputs, by name.
template <real_scalar Scalar = double>
ValuesByName<Scalar> evaluate(Graph const& graph, Parameters const& parameters, NamedValues const& inputs) {
  std::vector<Matrix<Scalar>> values = evaluate_nodes<Scalar>(graph, parameters, inputs);
  ValuesByName<Scalar> outputs;
  for (std::size_t n = 0; n < values.size(); ++n) {
    Node const& node = graph.nodes()[n];
    if (node.op == Operator::output) outputs.emplace(node.name, std::move(values[n]));
  }
  return outputs;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
