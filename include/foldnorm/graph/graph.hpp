// SPDX-License-Identifier: MIT
// foldnorm/graph/graph.hpp -- a network described by hand: a value type, checked as it is built.
//
//   Graph g;
//   NodeId x = g.input("x", 784);
//   NodeId h = g.linear("fc1", x, 256, "W1", "b1");
//   NodeId n = g.layer_norm("ln1", h, "gamma1", "beta1");
//   g.output("logits", g.linear("fc2", g.relu("act1", n), 10, "W2", "b2"));
//
// Values are features x tokens (a token is a column). Parameters are named, and the same name is the same storage.
// Nodes can only read nodes that exist, so every Graph is acyclic. What each operator computes:
// docs/layer_graph_format.md.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/checks.hpp>
#include <foldnorm/graph/node.hpp>
#include <foldnorm/graph/operators.hpp>
#include <foldnorm/graph/shapes.hpp>

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

class Graph {
 public:
  // Every function that adds a node throws graph_error (an std::invalid_argument that names the node) and leaves the
  // graph as it was if: the name is empty, malformed or taken; an input is not a node of this graph, or cannot be read
  // here (an output; ids other than by an embedding); a number is out of range; sizes do not fit; a parameter is used
  // elsewhere with another size. An empty parameter name means: no such parameter.
  NodeId append(Operator op, std::string name, std::vector<NodeId> inputs, KeyValues const& keys = {});

  NodeId input(std::string name, Index features) {
    return append(Operator::input, std::move(name), {}, number(Key::features, features));
  }
  NodeId ids(std::string name, Index vocab) {
    return append(Operator::ids, std::move(name), {}, number(Key::vocab, vocab));
  }

  NodeId linear(std::string name, NodeId x, Index out, std::string weight, std::string bias = {}) {
    return append(Operator::linear, std::move(name), {x},
                  {{{Key::out, as_number(out)}}, {{Key::weight, std::move(weight)}, {Key::bias, std::move(bias)}}});
  }
  NodeId conv(std::string name, NodeId x, Index out, Index kernel, std::string weight, std::string bias = {},
              Index groups = 1) {
    return append(Operator::conv, std::move(name), {x},
                  {{{Key::out, as_number(out)}, {Key::kernel, as_number(kernel)}, {Key::groups, as_number(groups)}},
                   {{Key::weight, std::move(weight)}, {Key::bias, std::move(bias)}}});
  }
  NodeId embedding(std::string name, NodeId ids, Index features, std::string table) {
    return append(Operator::embedding, std::move(name), {ids},
                  {{{Key::features, as_number(features)}}, {{Key::table, std::move(table)}}});
  }
  // One vector, added to every token; and a features x tokens matrix, added token by token.
  NodeId add_parameter(std::string name, NodeId x, std::string value) {
    return append(Operator::add_parameter, std::move(name), {x}, parameter(Key::value, std::move(value)));
  }
  NodeId add_token_parameter(std::string name, NodeId x, std::string value) {
    return append(Operator::add_parameter, std::move(name), {x},
                  {{{Key::per_token, 1}}, {{Key::value, std::move(value)}}});
  }

  NodeId scale_channels(std::string name, NodeId x, std::string value) {
    return append(Operator::scale_channels, std::move(name), {x}, parameter(Key::value, std::move(value)));
  }
  NodeId scale(std::string name, NodeId x, double by) {
    return append(Operator::scale, std::move(name), {x}, {{{Key::by, by}}, {}});
  }
  NodeId add(std::string name, std::vector<NodeId> operands) {
    return append(Operator::add, std::move(name), std::move(operands));
  }
  NodeId subtract(std::string name, NodeId a, NodeId b) { return append(Operator::subtract, std::move(name), {a, b}); }
  NodeId multiply(std::string name, NodeId a, NodeId b) { return append(Operator::multiply, std::move(name), {a, b}); }

  NodeId identity(std::string name, NodeId x) { return append(Operator::identity, std::move(name), {x}); }
  NodeId dropout(std::string name, NodeId x, double p = 0.5) {
    return append(Operator::dropout, std::move(name), {x}, {{{Key::p, p}}, {}});
  }
  NodeId drop_path(std::string name, NodeId x, double p = 0.5) {
    return append(Operator::drop_path, std::move(name), {x}, {{{Key::p, p}}, {}});
  }

  NodeId relu(std::string name, NodeId x) { return append(Operator::relu, std::move(name), {x}); }
  NodeId gelu(std::string name, NodeId x) { return append(Operator::gelu, std::move(name), {x}); }
  NodeId silu(std::string name, NodeId x) { return append(Operator::silu, std::move(name), {x}); }
  NodeId tanh(std::string name, NodeId x) { return append(Operator::tanh, std::move(name), {x}); }
  NodeId sigmoid(std::string name, NodeId x) { return append(Operator::sigmoid, std::move(name), {x}); }

  NodeId softmax(std::string name, NodeId x) { return append(Operator::softmax, std::move(name), {x}); }
  NodeId center(std::string name, NodeId x) { return append(Operator::center, std::move(name), {x}); }
  NodeId layer_norm(std::string name, NodeId x, std::string gamma = {}, std::string beta = {}, NormKeys keys = {}) {
    return append(Operator::layer_norm, std::move(name), {x}, norm(std::move(gamma), std::move(beta), keys));
  }
  NodeId rms_norm(std::string name, NodeId x, std::string gamma = {}, std::string beta = {}, NormKeys keys = {}) {
    return append(Operator::rms_norm, std::move(name), {x}, norm(std::move(gamma), std::move(beta), keys));
  }
  NodeId batch_norm(std::string name, NodeId x, std::string scale, std::string shift) {
    return append(Operator::batch_norm, std::move(name), {x},
                  {{}, {{Key::scale, std::move(scale)}, {Key::shift, std::move(shift)}}});
  }

  NodeId concat_tokens(std::string name, std::vector<NodeId> operands) {
    return append(Operator::concat_tokens, std::move(name), std::move(operands));
  }
  NodeId concat_features(std::string name, std::vector<NodeId> operands) {
    return append(Operator::concat_features, std::move(name), std::move(operands));
  }
  NodeId slice_features(std::string name, NodeId x, Index start, Index length) {
    return append(Operator::slice_features, std::move(name), {x},
                  {{{Key::start, as_number(start)}, {Key::length, as_number(length)}}, {}});
  }
  NodeId mean_tokens(std::string name, NodeId x) { return append(Operator::mean_tokens, std::move(name), {x}); }
  NodeId max_tokens(std::string name, NodeId x) { return append(Operator::max_tokens, std::move(name), {x}); }
  NodeId permute_tokens(std::string name, NodeId x) { return append(Operator::permute_tokens, std::move(name), {x}); }
  NodeId merge_tokens(std::string name, NodeId x, Index ratio) {
    return append(Operator::merge_tokens, std::move(name), {x}, number(Key::ratio, ratio));
  }

  NodeId attention(std::string name, NodeId queries, NodeId keys, NodeId values, Index heads = 1) {
    return append(Operator::attention, std::move(name), {queries, keys, values}, number(Key::heads, heads));
  }
  // An operator that the library does not know: it blocks every fold that would need to know it.
  NodeId opaque(std::string name, std::vector<NodeId> inputs, Index features) {
    return append(Operator::opaque, std::move(name), std::move(inputs), number(Key::features, features));
  }
  NodeId output(std::string name, NodeId x) { return append(Operator::output, std::move(name), {x}); }

  // In the order in which they were added: a node's inputs come before it.
  std::span<Node const> nodes() const { return nodes_; }
  std::span<ParameterDescription const> parameters() const { return parameters_; }  // in the order of first use
  // Precondition (asserted by operator[] in debug builds): the id came from this graph.
  Node const& node(NodeId id) const { return nodes_[static_cast<std::size_t>(id.index)]; }
  ParameterDescription const& parameter(ParameterId id) const {
    return parameters_[static_cast<std::size_t>(id.index)];
  }

  std::optional<NodeId> find_node(std::string_view name) const { return find<NodeId>(node_names_, name); }
  std::optional<ParameterId> find_parameter(std::string_view name) const {
    return find<ParameterId>(parameter_names_, name);
  }

  // Same statements in the same order.
  bool operator==(Graph const& other) const { return nodes_ == other.nodes_ && parameters_ == other.parameters_; }

 private:
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>{}(name); }
  };
  using Names = std::unordered_map<std::string, std::int32_t, NameHash, std::equal_to<>>;

  template <class Id>
  static std::optional<Id> find(Names const& names, std::string_view name) {
    auto const found = names.find(name);
    return found == names.end() ? std::nullopt : std::optional<Id>(Id{found->second});
  }

  static double as_number(Index count) { return static_cast<double>(count); }
  static KeyValues number(Key key, Index count) { return {{{key, as_number(count)}}, {}}; }
  static KeyValues parameter(Key key, std::string name) { return {{}, {{key, std::move(name)}}}; }
  static KeyValues norm(std::string gamma, std::string beta, NormKeys keys) {
    return {{{Key::eps, keys.eps}, {Key::groups, as_number(keys.groups)}},
            {{Key::gamma, std::move(gamma)}, {Key::beta, std::move(beta)}}};
  }

  std::vector<Index> checked_input_features(Node const& node) const;
  Index input_size(Node const& node) const;  // features of the first input, or the vocabulary of an ids node
  void check_parameter(Node const& node, Key role, std::string const& name) const;
  ParameterId use_parameter(NodeId id, Key role, std::string const& name);
  void forget_last_node() noexcept;

  std::vector<Node> nodes_;
  std::vector<ParameterDescription> parameters_;
  Names node_names_;
  Names parameter_names_;
};

inline std::vector<Index> Graph::checked_input_features(Node const& node) const {
  OperatorRow const& r = row(node.op);
  detail::require(node.inputs.size() >= r.fewest_inputs && node.inputs.size() <= r.most_inputs, node,
                  std::to_string(node.inputs.size()) + " inputs, expected " +
                      (r.most_inputs == OperatorRow::any ? "at least " : "") + std::to_string(r.fewest_inputs));
  std::vector<Index> features;
  features.reserve(node.inputs.size());
  for (NodeId const id : node.inputs) {
    detail::require(id.index >= 0 && static_cast<std::size_t>(id.index) < nodes_.size(), node,
                    "an input is no node of this graph");
    Node const& input = this->node(id);
    detail::require(input.op != Operator::output, node, node_text(input) + " cannot be read: it is an output");
    detail::require((input.op == Operator::ids) == (node.op == Operator::embedding), node,
                    node_text(input) + (input.op == Operator::ids ? " can only be read by an embedding"
                                                                  : " cannot be read here: expected an ids node"));
    features.push_back(input.features);
  }
  return features;
}

inline Index Graph::input_size(Node const& node) const {
  if (node.inputs.empty()) return 0;
  Node const& first = this->node(node.inputs.front());
  return first.op == Operator::ids ? first.count(Key::vocab) : first.features;
}

inline void Graph::check_parameter(Node const& node, Key role, std::string const& name) const {
  auto const id = find_parameter(name);
  if (!id) return;
  ParameterDescription const& known = parameter(*id);
  auto const refuse = [&](detail::ParameterShape here, Node const& other, detail::ParameterShape there) {
    auto const text = [](detail::ParameterShape s) {
      return std::to_string(s.rows) + "x" + (s.columns == 0 ? "tokens" : std::to_string(s.columns));
    };
    detail::raise<graph_error>(node_text(node) + ": " + std::string(row(role).word) + " " + name + " is " + text(here) +
                               " here and " + text(there) + " in " + node_text(other));
  };
  detail::ParameterShape const here = detail::parameter_shape(node, input_size(node), role, known.is_table);
  if (role == Key::table && !known.is_table) {
    // The first lookup turns the parameter into a table: linears that already use it must fit transposed.
    for (ParameterUse const& use : known.uses) {
      Node const& other = this->node(use.node);
      detail::ParameterShape const there = detail::parameter_shape(other, input_size(other), use.role, true);
      if (there != here) refuse(here, other, there);
    }
  } else if (here != detail::ParameterShape{known.rows, known.columns}) {
    refuse(here, this->node(known.uses.front().node), {known.rows, known.columns});
  }
}

inline ParameterId Graph::use_parameter(NodeId id, Key role, std::string const& name) {
  Node const& node = this->node(id);
  auto known = find_parameter(name);
  detail::ParameterShape const shape = detail::parameter_shape(
      node, input_size(node), role, role == Key::table || (known && parameter(*known).is_table));
  if (!known) {
    known = ParameterId{static_cast<std::int32_t>(parameters_.size())};
    parameters_.push_back({name, shape.rows, shape.columns, shape.columns == 0, false, {}});
    parameter_names_.emplace(name, known->index);
  }
  ParameterDescription& description = parameters_[static_cast<std::size_t>(known->index)];
  description.uses.push_back({id, role});
  description.rows = shape.rows;
  description.columns = shape.columns;
  description.is_table = description.is_table || role == Key::table;
  return *known;
}

inline void Graph::forget_last_node() noexcept {
  NodeId const last{static_cast<std::int32_t>(nodes_.size()) - 1};
  for (ParameterDescription& description : parameters_) {
    std::erase_if(description.uses, [&](ParameterUse const& use) { return use.node == last; });
  }
  while (!parameters_.empty() && parameters_.back().uses.empty()) {
    parameter_names_.erase(parameters_.back().name);
    parameters_.pop_back();
  }
  node_names_.erase(nodes_.back().name);
  nodes_.pop_back();
}

inline NodeId Graph::append(Operator op, std::string name, std::vector<NodeId> inputs, KeyValues const& keys) {
  Node node{op, std::move(name), std::move(inputs)};
  detail::require_word(node.name, node, "name");
  detail::require(!find_node(node.name), node, "the name is taken");
  detail::require(nodes_.size() < static_cast<std::size_t>(detail::largest_count), node, "the graph is full");
  std::vector<Index> const input_features = checked_input_features(node);
  detail::set_numbers(node, keys);
  node.features = detail::value_features(node, input_features);
  auto const names = detail::parameter_names(node, keys);
  for (auto const& [role, parameter_name] : names) check_parameter(node, role, parameter_name);
  if (names.size() == 2 && names[0].second == names[1].second) {
    detail::require(detail::parameter_shape(node, input_size(node), names[0].first, false) ==
                        detail::parameter_shape(node, input_size(node), names[1].first, false),
                    node, names[0].second + " is used in two roles of different sizes");
  }

  NodeId const id{static_cast<std::int32_t>(nodes_.size())};
  nodes_.push_back(std::move(node));
  struct Rollback {  // out of memory: leaves the graph as it was
    Graph* graph;
    ~Rollback() {
      if (graph) graph->forget_last_node();
    }
  } rollback{this};
  node_names_.emplace(nodes_.back().name, id.index);
  for (auto const& [role, parameter_name] : names) {
    nodes_.back().parameters[*row(op).slot(role)] = use_parameter(id, role, parameter_name);
  }
  rollback.graph = nullptr;
  return id;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
