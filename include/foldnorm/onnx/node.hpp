// SPDX-License-Identifier: MIT
// foldnorm/onnx/node.hpp -- what an ONNX node says: attributes by name, inputs that may be left out, graphs inside.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/onnx/model_file.hpp>

#include <cstdint>
#include <string>
#include <string_view>

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

inline std::string text_attribute(::onnx::NodeProto const& node, std::string_view name, std::string const& otherwise) {
  auto const* const attribute = find_attribute(node, name);
  return attribute && !attribute->s().empty() ? attribute->s() : otherwise;
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

namespace detail {

template <class Action>
void for_each_graph(::onnx::NodeProto const& node, Action action) {
  for (auto const& attribute : node.attribute()) {
    if (attribute.has_g()) action(attribute.g());
    for (auto const& graph : attribute.graphs()) action(graph);
  }
}
inline bool has_graphs(::onnx::NodeProto const& node) {
  bool result = false;
  for_each_graph(node, [&](::onnx::GraphProto const&) { result = true; });
  return result;
}

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
