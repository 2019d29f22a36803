// SPDX-License-Identifier: MIT
// foldnorm/onnx/to_graph.hpp -- an ONNX model as a layer graph: for find_foldable_norms, not to be evaluated.
//
// The features of a value are the one axis that what makes it works on: the last behind MatMul, Gemm and Gather, axis 1
// behind Conv. Rearranging operators move it; where it cannot be followed, and at every operator that no rule knows,
// the layer graph has an opaque node, which blocks. docs/onnx.md lists the operators.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/onnx/detail/branch_rules.hpp>
#include <foldnorm/onnx/detail/elementwise_rules.hpp>
#include <foldnorm/onnx/detail/linear_rules.hpp>
#include <foldnorm/onnx/detail/network_builder.hpp>
#include <foldnorm/onnx/detail/norm_rules.hpp>
#include <foldnorm/onnx/detail/other_uses.hpp>
#include <foldnorm/onnx/detail/product_rules.hpp>
#include <foldnorm/onnx/detail/rearranging_rules.hpp>
#include <foldnorm/onnx/detail/token_rules.hpp>
#include <foldnorm/onnx/network.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

// Since when operands are broadcast as numpy does it, and BatchNormalization and Dropout are as they are at inference.
inline constexpr std::int64_t oldest_opset = 7;

using OnnxRule = bool (*)(NetworkBuilder&, int);

inline OnnxRule find_rule(std::string_view name) {
  static std::unordered_map<std::string_view, OnnxRule> const rules = [] {
    std::unordered_map<std::string_view, OnnxRule> result{
        {"MatMul", [](NetworkBuilder& to,
                      int n) { return add_matmul(to, n) || add_mixed_tokens(to, n) || add_stacked_matmul(to, n); }},
        {"Einsum", add_einsum},
        {"Gemm", add_gemm},
        {"Conv", add_conv},
        {"ConvTranspose", add_transposed_conv},
        {"Gather", [](NetworkBuilder& to, int n) { return add_embedding(to, n) || add_gathered_tokens(to, n); }},
        {"LayerNormalization", add_fused_norm},
        {"RMSNormalization", add_fused_norm},
        {"SimplifiedLayerNormalization", add_fused_norm},
        {"BatchNormalization", add_batch_norm},
        {"Softmax", add_softmax},
        {"LogSoftmax", add_softmax},
        {"Add", add_sum},
        {"Sub", add_sum},
        {"Mul", add_product},
        {"Div", add_product},
        {"Neg", add_negation},
        {"Transpose", add_transpose},
        {"Concat", add_concat},
        {"Slice", add_slice},
        {"Split", add_split},
        {"Expand", add_expand},
        {"Tile", add_tile},
        {"Pad", add_pad},
        {"Resize", add_resize},
        {"Upsample", add_resize},
        {"Where", add_choice},
        {"If", add_branches}};
    for (auto const* type : {"Relu",      "Tanh",       "Sigmoid", "Swish",     "Gelu",        "Erf",
                             "LeakyRelu", "Elu",        "Selu",    "HardSwish", "HardSigmoid", "Mish",
                             "Softplus",  "Softsign",   "Clip",    "Exp",       "Log",         "Sqrt",
                             "Abs",       "Reciprocal", "Pow",     "Sin",       "Cos",         "PRelu",
                             "Celu",      "Floor",      "Ceil",    "Round",     "Sign",        "ThresholdedRelu"}) {
      result.emplace(type, add_activation);
    }
    for (auto const* type : {"Identity", "Cast", "Dropout"}) result.emplace(type, add_identity);
    for (auto const* type : {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}) result.emplace(type, add_reshape);
    for (auto const* type : {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"}) result.emplace(type, add_reduction);
    for (auto const* type : {"AveragePool", "GlobalAveragePool", "MaxPool", "GlobalMaxPool"}) {
      result.emplace(type, add_pool);
    }
    return result;
  }();
  auto const found = rules.find(name);
  return found == rules.end() ? nullptr : found->second;
}

inline void add_inputs(NetworkBuilder& to) {
  for (auto const& input : to.index.graph().input()) {
    if (to.index.constant(input.name())) continue;
    auto const& shape = to.shapes.of(input.name());
    auto const last = length_along(-1, shape);
    NodeId const made = to.graph().input(to.fresh_name(input.name()), last.value_or(1));
    to.define(input.name(), made, last ? -1 : 0, OnnxIndex::nobody);
  }
}

// What is static is no node, unless it is made of a parameter's tokens.
inline void add_node(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  std::string const& type = node.op_type();
  bool const has_output = node.output_size() > 0 && !node.output(0).empty();
  bool const is_known = has_output && to.index.is_standard(node);
  if (to.index.is_standard(node) && (type == "Shape" || type == "Size")) return;  // sees no element
  OnnxRule const rule = is_known ? find_rule(type) : nullptr;
  bool reads_values = false;
  for (auto const& input : node.input()) reads_values = reads_values || to.value(input);
  if (has_output && to.is_static(node.output(0)) && !reads_values) {
    bool const takes_tokens = type == "Gather" || type == "Slice" || type == "Expand";
    if (rule && takes_tokens && to.tensors.constant(input_of(node, 0))) rule(to, n);
    return;
  }
  if (!rule || !rule(to, n)) to.add_opaque(n);
}

// Norms that are written out, by their first node: there it is known what they read.
inline std::unordered_map<int, NormPattern> find_norms(NetworkBuilder& to) {
  NormPatterns const patterns(to.file, to.index);
  std::unordered_map<int, NormPattern> result;
  for (int n = 0; n < to.index.size(); ++n) {
    auto found = patterns.match(n);
    if (!found) continue;
    bool const is_together =
        std::ranges::all_of(found->nodes, [&](int part) { return to.index.are_together(part, n); });
    if (found->is_private && is_together) {
      int const first = found->nodes.front();
      result.emplace(first, *std::move(found));
    } else if (found->subtracts_mean) {
      to.refuse(n, is_together ? "a value inside it is read from elsewhere"
                               : "a part of it is outside of the branch or body");
    }
  }
  return result;
}

inline OnnxNetwork build_network(OnnxFile const& file) {
  if (file.model().training_info_size() > 0) {  // whose graphs may change every initializer
    detail::raise<onnx_error>(file.name() + ": is to be trained: fold it afterwards");
  }
  NetworkBuilder to(file);
  if (to.opset < oldest_opset) {
    detail::raise<onnx_error>(file.name() + ": opset " + std::to_string(to.opset) + ", expected " +
                              std::to_string(oldest_opset) +
                              " or later: what older operators broadcast is not known. Convert the model first");
  }
  auto const norms = find_norms(to);
  std::unordered_map<int, NormPattern const*> begun;  // by last node
  add_inputs(to);
  add_body_inputs(to);
  for (int n = 0; n < to.index.size(); ++n) {
    if (auto const norm = norms.find(n); norm != norms.end()) {
      if (place_of(to, norm->second)) {
        for (int const part : norm->second.nodes) to.take(part);
        begun.emplace(norm->second.nodes.back(), &norm->second);
      } else if (norm->second.subtracts_mean) {
        to.refuse(norm->second.nodes.back(), "the length of the axis that it normalizes is not known");
      }
    }
    if (auto const norm = begun.find(n); norm != begun.end()) {
      add_norm_pattern(to, *norm->second);
    } else if (!to.is_taken(n)) {
      add_node(to, n);
    }
  }
  for (auto const& output : to.index.graph().output()) {
    if (auto const value = to.value(output.name())) {
      to.remember(to.graph().output(to.fresh_name(output.name(), ".output"), value->node), {OnnxIndex::nobody, "", 0});
    }
  }
  take_parameters(to);
  return std::move(to.network);
}

}  // namespace detail

// Throws onnx_error for a graph that is none (OnnxIndex), tensors that are malformed or lie where they may not
// (read_tensor), training, an opset before 7, a norm whose epsilon is negative or not finite, and operators that break
// ONNX's rules in a way that the layer graph cannot hold. Weights and tables are not read (read_parameter). Time linear
// in the model.
inline OnnxNetwork to_graph(OnnxFile const& file) {
  try {
    return detail::build_network(file);
  } catch (graph_error const& error) {
    detail::raise<onnx_error>(file.name() + ": " + error.what());
  }
}

}  // namespace foldnorm::inline FOLDNORM_ABI
