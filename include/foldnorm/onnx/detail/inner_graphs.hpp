// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/inner_graphs.hpp -- which graphs inside of nodes can count as part of the graph around them.
//
// Branches and bodies whose values have names that nothing else in the model has.
#pragma once

#include <foldnorm/onnx/node.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace foldnorm::detail {

class InnerGraphs {
 public:
  explicit InnerGraphs(::onnx::GraphProto const& main) { count_names(main); }

  // Of an If both branches, of a Loop or Scan the body, in the order of the attributes; none if one of them cannot.
  // Precondition: the node is ONNX's own.
  std::vector<::onnx::GraphProto const*> of(::onnx::NodeProto const& node) const {
    bool const is_if = node.op_type() == "If";
    if (!is_if && node.op_type() != "Loop" && node.op_type() != "Scan") return {};
    std::vector<::onnx::GraphProto const*> result;
    for (auto const& attribute : node.attribute()) {
      std::string_view const name = attribute.name();
      bool const is_inner = is_if ? name == "then_branch" || name == "else_branch" : name == "body";
      if (!is_inner || &attribute != find_attribute(node, name)) continue;
      ::onnx::GraphProto const& graph = attribute.g();
      bool const fits = !is_if || (graph.input_size() == 0 && graph.output_size() == node.output_size());
      if (!attribute.has_g() || !fits || !has_own_names(graph)) return {};
      result.push_back(&graph);
    }
    return !is_if || result.size() == 2 ? result : std::vector<::onnx::GraphProto const*>();
  }

 private:
  void count_names(::onnx::GraphProto const& graph) {
    for (auto const& input : graph.input()) ++counts_[input.name()];
    for (auto const& tensor : graph.initializer()) ++counts_[tensor.name()];
    for (auto const& node : graph.node()) {
      for (auto const& output : node.output()) ++counts_[output];
      for_each_graph(node, [&](::onnx::GraphProto const& inner) { count_names(inner); });
    }
  }
  bool has_own_names(::onnx::GraphProto const& graph) const {
    auto const is_own = [&](std::string const& name) { return name.empty() || counts_.at(name) == 1; };
    auto const has_own_name = [&](auto const& named) { return is_own(named.name()); };
    return graph.sparse_initializer_size() == 0 && std::ranges::all_of(graph.input(), has_own_name) &&
           std::ranges::all_of(graph.initializer(), has_own_name) &&
           std::ranges::all_of(graph.node(),
                               [&](auto const& node) { return std::ranges::all_of(node.output(), is_own); });
  }

  std::unordered_map<std::string, int> counts_;
};

}  // namespace foldnorm::detail
