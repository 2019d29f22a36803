// SPDX-License-Identifier: MIT
// inference/executor.hpp -- runs a layer graph in float, again and again, in memory that is laid out once.
//
// How to write inference with this library: the norms and the centering are its kernels, on views; everything else is
// Eigen. run() takes no memory of its own (Eigen's products keep their packing buffers to themselves).
#pragma once

#include "buffer_plan.hpp"
#include "operations.hpp"

#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/graph/token_counts.hpp>
#include <foldnorm/kernels/center.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foldnorm::inference {

class Executor {
 public:
  // Every input has `tokens` tokens. The parameters are copied, in float. Throws graph_error where token counts do not
  // fit, and at an operator that is not among those below; std::invalid_argument where a parameter is missing.
  Executor(Graph graph, Parameters const& parameters, Index tokens)
      : graph_(std::move(graph)),
        tokens_(token_counts(graph_, tokens)),
        plan_(graph_, tokens_),
        memory_(Vector<float>::Zero(plan_.size())) {
    for (ParameterDescription const& parameter : graph_.parameters()) {
      parameters_.push_back(parameters.as<float>(parameter.name));
    }
    Index most_scores = 0;
    for (std::size_t n = 0; n < graph_.nodes().size(); ++n) {
      Node const& node = graph_.nodes()[n];
      check_known(node);
      if (node.op == Operator::ids) ids_.emplace_back(node.name, std::vector<Index>(static_cast<std::size_t>(tokens)));
      if (node.op == Operator::attention) most_scores = std::max(most_scores, scores_of(node));
    }
    scores_.resize(most_scores);
  }

  // What the caller writes before a run: features x tokens; tokens ids. Throws std::invalid_argument for other names.
  View input(std::string_view name) { return view(find(name, Operator::input)); }
  std::vector<Index>& ids(std::string_view name) { return ids_of(graph_.node(find(name, Operator::ids))); }
  // ... and reads behind it.
  ConstView output(std::string_view name) const { return values(find(name, Operator::output)); }

  // One forward pass. Each norm is computed norm_repetitions times, with the same result: a way to time short ones.
  void run(int norm_repetitions = 1) {
    run_nodes([&](auto const& compute_norm) {
      for (int i = 0; i < norm_repetitions; ++i) compute_norm();
    });
  }

  // One forward pass. Returns the seconds that norms took, of which the clock itself takes some 30 ns a norm.
  double run_timing_norms() {
    using Clock = std::chrono::steady_clock;
    Clock::duration taken{};
    run_nodes([&](auto const& compute_norm) {
      auto const start = Clock::now();
      compute_norm();
      taken += Clock::now() - start;
    });
    return std::chrono::duration<double>(taken).count();
  }

  Graph const& graph() const { return graph_; }
  Index memory() const { return plan_.size() + scores_.size(); }  // floats beside the parameters

 private:
  static void check_known(Node const& node) {
    switch (node.op) {
      case Operator::input:
      case Operator::ids:
      case Operator::linear:
      case Operator::embedding:
      case Operator::add_parameter:
      case Operator::add:
      case Operator::identity:
      case Operator::dropout:
      case Operator::drop_path:
      case Operator::relu:
      case Operator::gelu:
      case Operator::center:
      case Operator::concat_tokens:
      case Operator::mean_tokens:
      case Operator::merge_tokens:
      case Operator::attention:
      case Operator::output:
        return;
      case Operator::conv:
        if (node.count(Key::groups) == 1) return;
        break;
      case Operator::layer_norm:
      case Operator::rms_norm:
        if (node.count(Key::groups) == 1 &&
            node.parameter(Key::gamma).present() == node.parameter(Key::beta).present()) {
          return;
        }
        break;
      default:
        break;
    }
    throw graph_error(node_text(node) + ": the executor has no such operation");
  }

  template <class AroundNorm>
  void run_nodes(AroundNorm const& around_norm) {
    for (std::size_t n = 0; n < graph_.nodes().size(); ++n) {
      NodeId const id{static_cast<std::int32_t>(n)};
      Node const& node = graph_.node(id);
      if (BufferPlan::renames(node.op)) continue;
      if (node.op == Operator::layer_norm || node.op == Operator::rms_norm) {
        around_norm([&] { compute(id, node); });
      } else {
        compute(id, node);
      }
    }
  }

  NodeId find(std::string_view name, Operator op) const {
    auto const id = graph_.find_node(name);
    if (!id || graph_.node(*id).op != op) {
      throw std::invalid_argument("Executor: there is no " + std::string(to_string(op)) + " '" + std::string(name) +
                                  "'");
    }
    return *id;
  }

  Index tokens(NodeId id) const { return tokens_[static_cast<std::size_t>(id.index)]; }
  View view(NodeId id) { return {memory_.data() + plan_.offset(id), graph_.node(id).features, tokens(id)}; }
  ConstView values(NodeId id) const {
    return {memory_.data() + plan_.offset(id), graph_.node(id).features, tokens(id)};
  }
  Matrix<float> const& parameter(Node const& node, Key key) const {
    return parameters_[static_cast<std::size_t>(node.parameter(key).index)];
  }
  std::vector<Index>& ids_of(Node const& node) { return std::ranges::find(ids_, node.name, &NamedIds::first)->second; }
  Index scores_of(Node const& node) const {
    return node.count(Key::heads) * tokens(node.inputs[1]) * tokens(node.inputs[0]);
  }

  void linear(Node const& node, View y) {
    ConstView const x = values(node.inputs[0]);
    ParameterId const weight = node.parameter(Key::weight);
    if (node.op == Operator::conv) {
      convolution(parameter(node, Key::weight), x, y);
    } else if (graph_.parameter(weight).is_table) {
      product(parameter(node, Key::weight).transpose(), x, y);
    } else {
      product(parameter(node, Key::weight), x, y);
    }
    if (node.parameter(Key::bias).present()) y.colwise() += parameter(node, Key::bias).col(0);
  }

  template <class Normalize>
  void norm(Node const& node, View y, Normalize const& normalize) {
    ConstView const x = values(node.inputs[0]);
    float const eps = static_cast<float>(node.number(Key::eps));
    if (node.parameter(Key::gamma).present()) {
      normalize(x, parameter(node, Key::gamma).col(0), parameter(node, Key::beta).col(0), eps, y);
    } else {
      normalize(x, none, none, eps, y);
    }
  }

  void compute(NodeId id, Node const& node) {
    View y = view(id);
    auto const x = [&](std::size_t i) { return values(node.inputs[i]); };
    switch (node.op) {
      case Operator::linear:
      case Operator::conv:
        return linear(node, y);
      case Operator::embedding: {
        std::vector<Index> const& ids = ids_of(graph_.node(node.inputs[0]));
        for (Index j = 0; j < y.cols(); ++j) {
          y.col(j) = parameter(node, Key::table).col(ids[static_cast<std::size_t>(j)]);
        }
        return;
      }
      case Operator::add_parameter: {
        Matrix<float> const& value = parameter(node, Key::value);
        return add(x(0), {value.data(), value.rows(), value.cols()}, y);
      }
      case Operator::add:
        add(x(0), x(1), y);
        for (std::size_t i = 2; i < node.inputs.size(); ++i) add(values(id), x(i), y);
        return;
      case Operator::relu:
        return relu(x(0), y);
      case Operator::gelu:
        return gelu(x(0), y);
      case Operator::center:
        return foldnorm::center(x(0), y, Accuracy::fast);
      case Operator::layer_norm:
        return norm(node, y, [](auto const&... arguments) { foldnorm::layer_norm(arguments...); });
      case Operator::rms_norm:
        return norm(node, y, [](auto const&... arguments) { foldnorm::rms_norm(arguments...); });
      case Operator::concat_tokens:
        for (Index i = 0, column = 0; i < static_cast<Index>(node.inputs.size()); ++i) {
          ConstView const part = x(static_cast<std::size_t>(i));
          y.middleCols(column, part.cols()) = part;
          column += part.cols();
        }
        return;
      case Operator::mean_tokens:
        y = x(0).rowwise().mean();
        return;
      case Operator::merge_tokens:
        y.reshaped() = x(0).reshaped();  // neighbours in memory already
        return;
      case Operator::attention: {
        Index const columns = node.count(Key::heads) * tokens(node.inputs[0]);
        View const scores(scores_.data(), tokens(node.inputs[1]), columns);
        return attention(x(0), x(1), x(2), node.count(Key::heads), scores, y);
      }
      default:
        return;  // inputs and ids, which the caller writes
    }
  }

  using NamedIds = std::pair<std::string, std::vector<Index>>;

  Graph graph_;
  std::vector<Index> tokens_;  // by node
  BufferPlan plan_;
  Vector<float> memory_, scores_;
  std::vector<Matrix<float>> parameters_;  // by parameter
  std::vector<NamedIds> ids_;
};

}  // namespace foldnorm::inference
