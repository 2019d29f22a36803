// SPDX-License-Identifier: MIT
// foldnorm/onnx/model_index.hpp -- who makes and who reads each value of an ONNX graph; checked to be a graph.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/onnx/model_file.hpp>

#include <algorithm>
#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// An attribute of a node by its name; null if it has none.
inline ::onnx::AttributeProto const* find_attribute(::onnx::NodeProto const& node, std::string_view name) {
  for (auto const& attribute : node.attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}
inline std::int64_t integer_attribute(::onnx::NodeProto const& node, std::string_view name, std::int64_t otherwise) {
  auto const* const attribute = find_attribute(node, name);
  return attribute && attribute->type() == ::onnx::AttributeProto::INT ? attribute->i() : otherwise;
}
inline double float_attribute(::onnx::NodeProto const& node, std::string_view name, double otherwise) {
  auto const* const attribute = find_attribute(node, name);
  return attribute && attribute->type() == ::onnx::AttributeProto::FLOAT ? static_cast<double>(attribute->f())
                                                                         : otherwise;
}

// An input of a node that may be left out: empty where it is.
inline std::string input_of(::onnx::NodeProto const& node, int i) {
  return i < node.input_size() ? node.input(i) : std::string();
}

// "Conv '/stem/Conv'": how messages and reports call a node.
inline std::string node_text(::onnx::NodeProto const& node) {
  std::string const name = !node.name().empty() ? node.name() : node.output_size() > 0 ? node.output(0) : "";
  return node.op_type() + " " + detail::printable(name);
}

// Of the main graph. Values that graphs inside its nodes (branches, loop bodies) read count as read by those nodes.
class OnnxIndex {
 public:
  static constexpr int nobody = -1;

  // Throws onnx_error, here and inside nested graphs: a value that is made twice, or read before it is made (so any
  // cycle), or by nobody; an output that nobody makes. Not owned: `file` is to outlive it. Linear in the model.
  explicit OnnxIndex(OnnxFile const& file) : name_(file.name()), graph_(file.model().graph()) {
    bool const inputs_are_constants = file.model().ir_version() < 4;  // which had to list initializers as inputs
    for (auto const& function : file.model().functions()) functions_.insert(function.domain() + ":" + function.name());
    std::vector<std::string> made;
    enter(graph_, made);
    for (auto const& tensor : graph_.initializer()) constants_.emplace(tensor.name(), &tensor);
    if (!inputs_are_constants) {
      for (auto const& input : graph_.input()) constants_.erase(input.name());  // which a caller may replace
    }
    for (int n = 0; n < graph_.node_size(); ++n) index_node(n, made);
    for (auto const& output : graph_.output()) {
      check_made(output.name(), "the graph's outputs");
      outputs_.insert(output.name());
    }
  }

  ::onnx::GraphProto const& graph() const { return graph_; }
  ::onnx::NodeProto const& node(int n) const { return graph_.node(n); }
  // The node that makes a value; nobody for inputs and initializers.
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
  // Values from outside that graphs inside this node read.
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

  void index_node(int n, std::vector<std::string>& made) {
    ::onnx::NodeProto const& node = graph_.node(n);
    for (auto const& input : node.input()) {
      if (input.empty()) continue;
      check_made(input, node_text(node));
      readers_[input].push_back(n);
    }
    std::vector<std::string>& captured = captured_[n];
    for_each_graph(node, [&](::onnx::GraphProto const& graph) { check_nested(graph, captured); });
    std::ranges::sort(captured);
    captured.erase(std::unique(captured.begin(), captured.end()), captured.end());
    for (auto const& value : captured) readers_[value].push_back(n);
    if (captured.empty()) captured_.erase(n);
    for (auto const& output : node.output()) {
      if (output.empty()) continue;
      make(output, made);
      producers_.emplace(output, n);
    }
    if (node.op_type() == "Constant" && is_standard(node) && node.output_size() == 1) {
      auto const* const value = find_attribute(node, "value");
      if (value && value->has_t()) constants_.emplace(node.output(0), &value->t());
    }
  }

  template <class Action>
  static void for_each_graph(::onnx::NodeProto const& node, Action action) {
    for (auto const& attribute : node.attribute()) {
      if (attribute.has_g()) action(attribute.g());
      for (auto const& graph : attribute.graphs()) action(graph);
    }
  }

  // `captured` gets every value that the nested graph reads and does not make itself.
  void check_nested(::onnx::GraphProto const& graph, std::vector<std::string>& captured) {
    std::vector<std::string> made;
    enter(graph, made);
    std::vector<std::string> read;
    for (auto const& node : graph.node()) {
      for (auto const& input : node.input()) {
        if (input.empty()) continue;
        check_made(input, node_text(node));
        read.push_back(input);
      }
      for_each_graph(node, [&](::onnx::GraphProto const& inner) { check_nested(inner, read); });
      for (auto const& output : node.output()) {
        if (!output.empty()) make(output, made);
      }
    }
    for (auto const& output : graph.output()) {
      check_made(output.name(), "a nested graph's outputs");
      read.push_back(output.name());
    }
    for (auto const& value : made) visible_.erase(value);
    for (auto& value : read) {
      if (visible_.contains(value)) captured.push_back(std::move(value));
    }
  }

  std::string name_;
  ::onnx::GraphProto const& graph_;
  std::unordered_set<std::string> visible_, outputs_;
  std::set<std::string> functions_;
  std::unordered_map<std::string, int> producers_;
  std::unordered_map<std::string, std::vector<int>> readers_;
  std::unordered_map<int, std::vector<std::string>> captured_;
  std::unordered_map<std::string, ::onnx::TensorProto const*> constants_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
