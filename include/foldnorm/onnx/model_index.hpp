// SPDX-License-Identifier: MIT
// foldnorm/onnx/model_index.hpp -- who makes and who reads each value of an ONNX graph; checked to be a graph.
//
// Nodes have numbers, in an order in which they can run. The branches of an If and the body of a Loop or Scan count as
// part of the graph, their nodes right in front of the node they are in, where each name in them is the model's only
// one; other graphs inside of nodes are read by the node that they are in.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/onnx/detail/inner_graphs.hpp>
#include <foldnorm/onnx/model_file.hpp>
#include <foldnorm/onnx/node.hpp>

#include <algorithm>
#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

class OnnxIndex {
 public:
  static constexpr int nobody = -1;

  // Throws onnx_error, here and inside nested graphs: a value that is made twice, or read before it is made (so any
  // cycle), or by nobody; an output that nobody makes. Not owned: `file` is to outlive it. Linear in the model.
  explicit OnnxIndex(OnnxFile const& file) : name_(file.name()), graph_(file.model().graph()), inner_graphs_(graph_) {
    bool const inputs_are_constants = file.model().ir_version() < 4;  // which had to list initializers as inputs
    for (auto const& function : file.model().functions()) functions_.insert(function.domain() + ":" + function.name());
    std::vector<std::string> made;
    enter(graph_, made);
    add_graph(graph_);
    if (!inputs_are_constants) {
      for (auto const& input : graph_.input()) constants_.erase(input.name());  // which a caller may replace
    }
    for (auto const& node : graph_.node()) {
      check_node(node, made);
      index_node(node, graph_);
    }
    for (auto const& output : graph_.output()) {
      check_made(output.name(), "the graph's outputs");
      outputs_.insert(output.name());
    }
  }

  ::onnx::GraphProto const& graph() const { return graph_; }
  // The main graph, and those that count as part of it.
  std::vector<::onnx::GraphProto const*> const& graphs() const { return graphs_; }
  int size() const { return static_cast<int>(nodes_.size()); }
  ::onnx::NodeProto const& node(int n) const { return *place(n).node; }
  // Are two nodes in the same graph: the main one, or the same branch or body?
  bool are_together(int a, int b) const { return place(a).graph == place(b).graph; }
  // The graphs in a node that count as part of the graph, in the order of its attributes: two branches of an If, the
  // body of a Loop or Scan. Else nothing.
  std::span<::onnx::GraphProto const* const> inner_graphs(int n) const {
    auto const found = inner_.find(n);
    if (found == inner_.end()) return {};
    return found->second;
  }
  // The node that makes a value; nobody for inputs (a body's among them) and initializers.
  int producer(std::string const& value) const {
    auto const found = producers_.find(value);
    return found == producers_.end() ? nobody : found->second;
  }
  // The nodes that read a value, once for each time that they do, in order.
  std::span<int const> readers(std::string const& value) const {
    auto const found = readers_.find(value);
    return found == readers_.end() ? std::span<int const>() : std::span<int const>(found->second);
  }
  bool is_output(std::string const& value) const { return outputs_.contains(value); }
  // Read by so many, outputs of the graph among them.
  std::size_t uses(std::string const& value) const { return readers(value).size() + (is_output(value) ? 1 : 0); }
  // Values from outside that graphs inside this node read, those that count as part of the graph among them.
  std::vector<std::string> const& captured(int n) const {
    static std::vector<std::string> const nothing;
    auto const found = captured_.find(n);
    return found == captured_.end() ? nothing : found->second;
  }
  // An initializer or a Constant node's tensor, which no caller can replace; else null.
  ::onnx::TensorProto const* constant(std::string const& value) const {
    auto const found = constants_.find(value);
    return found == constants_.end() ? nullptr : found->second;
  }
  // Does this node mean what ONNX says of its type: no other domain, and no function of the model's own?
  bool is_standard(::onnx::NodeProto const& node) const {
    bool const own = functions_.contains(node.domain() + ":" + node.op_type()) ||
                     functions_.contains("ai.onnx:" + node.op_type()) || functions_.contains(":" + node.op_type());
    return (node.domain().empty() || node.domain() == "ai.onnx") && !own;
  }

 private:
  [[noreturn]] void fail(std::string const& what) const { detail::raise<onnx_error>(name_ + ": " + what); }

  void make(std::string const& value, std::vector<std::string>& made) {
    if (!visible_.insert(value).second) fail("value " + detail::printable(value) + " is made twice");
    made.push_back(value);
  }
  void check_made(std::string const& value, std::string const& reader) const {
    if (!visible_.contains(value)) {
      fail(reader + ": reads " + detail::printable(value) + ", which nothing before it makes");
    }
  }
  // Inputs and initializers; an initializer may be an input's default.
  void enter(::onnx::GraphProto const& graph, std::vector<std::string>& made) {
    std::unordered_set<std::string> inputs;
    for (auto const& input : graph.input()) {
      make(input.name(), made);
      inputs.insert(input.name());
    }
    std::unordered_set<std::string> initializers;
    auto const add = [&](std::string const& name) {
      if (!initializers.insert(name).second) fail("initializer " + detail::printable(name) + " is there twice");
      if (!inputs.contains(name)) make(name, made);
    };
    for (auto const& tensor : graph.initializer()) add(tensor.name());
    for (auto const& tensor : graph.sparse_initializer()) add(tensor.values().name());
  }

  void add_graph(::onnx::GraphProto const& graph) {
    graphs_.push_back(&graph);
    for (auto const& tensor : graph.initializer()) constants_.emplace(tensor.name(), &tensor);
  }
  // What a node reads is there, and so is what graphs inside of it read; then its values are.
  void check_node(::onnx::NodeProto const& node, std::vector<std::string>& made) {
    for (auto const& input : node.input()) {
      if (!input.empty()) check_made(input, node_text(node));
    }
    detail::for_each_graph(node, [&](::onnx::GraphProto const& graph) { check_nested(graph); });
    for (auto const& output : node.output()) {
      if (!output.empty()) make(output, made);
    }
  }
  void check_nested(::onnx::GraphProto const& graph) {
    std::vector<std::string> made;
    enter(graph, made);
    for (auto const& node : graph.node()) check_node(node, made);
    for (auto const& output : graph.output()) check_made(output.name(), "a nested graph's outputs");
    for (auto const& value : made) visible_.erase(value);
  }

  // Precondition: the node is checked.
  void index_node(::onnx::NodeProto const& node, ::onnx::GraphProto const& graph) {
    auto const inside = is_standard(node) ? inner_graphs_.of(node) : std::vector<::onnx::GraphProto const*>();
    for (auto const* const inner : inside) {
      add_graph(*inner);
      for (auto const& inner_node : inner->node()) index_node(inner_node, *inner);
    }
    int const n = size();
    nodes_.push_back({&node, &graph});
    for (auto const& input : node.input()) {
      if (!input.empty()) readers_[input].push_back(n);
    }
    for (auto const* const inner : inside) {
      for (auto const& output : inner->output()) readers_[output.name()].push_back(n);
    }
    std::vector<std::string> captured = captured_by(node);
    for (auto const& value : captured) {
      if (inside.empty()) readers_[value].push_back(n);  // else the nodes in them read it
    }
    if (!captured.empty()) captured_.emplace(n, std::move(captured));
    if (!inside.empty()) inner_.emplace(n, inside);
    for (auto const& output : node.output()) {
      if (!output.empty()) producers_.emplace(output, n);
    }
    if (node.op_type() == "Constant" && is_standard(node) && node.output_size() == 1) {
      auto const* const value = find_attribute(node, "value");
      if (value && value->has_t()) constants_.emplace(node.output(0), &value->t());
    }
  }

  // What graphs inside of a node read, and is made outside of it; a checked node's, so that no name hides another.
  static std::vector<std::string> captured_by(::onnx::NodeProto const& node) {
    std::vector<std::string> result;
    detail::for_each_graph(node, [&](::onnx::GraphProto const& graph) { collect_captured(graph, result); });
    std::ranges::sort(result);
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
  }
  static void collect_captured(::onnx::GraphProto const& graph, std::vector<std::string>& captured) {
    std::unordered_set<std::string> made;
    for (auto const& input : graph.input()) made.insert(input.name());
    for (auto const& tensor : graph.initializer()) made.insert(tensor.name());
    for (auto const& tensor : graph.sparse_initializer()) made.insert(tensor.values().name());
    std::vector<std::string> read;
    for (auto const& node : graph.node()) {
      read.insert(read.end(), node.input().begin(), node.input().end());
      detail::for_each_graph(node, [&](::onnx::GraphProto const& inner) { collect_captured(inner, read); });
      made.insert(node.output().begin(), node.output().end());
    }
    for (auto const& output : graph.output()) read.push_back(output.name());
    for (auto& value : read) {
      if (!value.empty() && !made.contains(value)) captured.push_back(std::move(value));
    }
  }

  struct Place {
    ::onnx::NodeProto const* node = nullptr;
    ::onnx::GraphProto const* graph = nullptr;
  };
  Place const& place(int n) const { return nodes_[static_cast<std::size_t>(n)]; }

  std::string name_;
  ::onnx::GraphProto const& graph_;
  detail::InnerGraphs inner_graphs_;
  std::vector<Place> nodes_;
  std::vector<::onnx::GraphProto const*> graphs_;
  std::unordered_map<int, std::vector<::onnx::GraphProto const*>> inner_;
  std::unordered_set<std::string> visible_, outputs_;
  std::set<std::string> functions_;
  std::unordered_map<std::string, int> producers_;
  std::unordered_map<std::string, std::vector<int>> readers_;
  std::unordered_map<int, std::vector<std::string>> captured_;
  std::unordered_map<std::string, ::onnx::TensorProto const*> constants_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
