// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/product_rules.hpp -- MatMul and Einsum that are no plain linear layer: tokens mixed by weights
// that all features of a head share, and constants that are stacks of weights or stand on the left.
#pragma once

#include <foldnorm/onnx/detail/einsum_terms.hpp>
#include <foldnorm/onnx/detail/network_builder.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::detail {

// Of two computed values, or with a constant on the left, where the right one's features are its last axis. Heads are
// axes in front of the product's.
inline bool add_mixed_tokens(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = node.input_size() == 2 ? to.value(node.input(1)) : std::nullopt;
  auto const rank = x ? to.shapes.of(node.input(1)).rank() : std::nullopt;
  if (!x || !x->is_known() || x->axes.back().axis != -1 || rank.value_or(0) < 2) return false;
  for (std::size_t k = 0; k + 1 < x->axes.size(); ++k) {
    if (x->axes[k].axis == -2) return false;
  }
  Index const heads = to.features(*x) / x->axes.back().length;
  to.define_output(n, to.mixed(n, x->node, {to.observed(node.input(0), n)}, heads), x->axes);
  return true;
}

// A weight whose rows lie along some of its axes, neighbours: its layout, with all other axes as columns.
inline std::optional<OnnxLayout> stacked_layout(NetworkBuilder const& to, OnnxConstant const& weight, int begin,
                                                int end) {
  if (weight.is_transposed) return std::nullopt;
  OnnxLayout layout{.rows = 1};
  for (int i = 0; i < weight.tensor->dims_size(); ++i) {
    Index& part = i < begin ? layout.outer : i < end ? layout.rows : layout.inner;
    part *= static_cast<Index>(weight.tensor->dims(i));
  }
  bool const fits = to.tensors.fits(weight, layout, ParameterKind::weight);
  return fits ? std::optional(layout) : std::nullopt;
}

// MatMul of a value and a stack of matrices, on the right, or of any constant on the left, where columns are features.
inline bool add_stacked_matmul(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  if (node.input_size() != 2) return false;
  int const side = to.value(node.input(0)) ? 1 : 0;  // of the constant
  auto const x = to.value(node.input(1 - side));
  auto const weight = to.tensors.constant(node.input(side));
  int const rank = weight ? weight->tensor->dims_size() : 0;
  if (!x || rank < 2) return false;
  int const place = side == 1 ? rank - 1 : rank - 2;
  auto const layout = stacked_layout(to, *weight, place, place + 1);
  if (!layout) return false;
  std::string const parameter = to.use(*weight, *layout, ParameterKind::weight);
  to.define_output(n, to.sealed_linear(n, x->node, layout->rows, layout->columns(), parameter), place - rank);
  return true;
}

// The value of an Einsum that has one operand's features as they are, and multiplies them by what does not depend on
// them, but for heads: where they are then. Empty if this operand's features do not come through.
inline std::optional<std::vector<FeatureAxis>> axes_through(EinsumTerms const& terms, int operand, OnnxValue const& x) {
  std::string const& own = terms.operands[operand];
  std::vector<FeatureAxis> axes = x.axes;
  for (FeatureAxis& part : axes) {
    if (-part.axis > static_cast<std::int64_t>(own.size())) return std::nullopt;
    char const label = own[own.size() - static_cast<std::size_t>(-part.axis)];
    auto const place = axis_of(label, terms.value);
    if (axis_of(label, own) != part.axis || !place) return std::nullopt;
    bool const is_last = &part == &axes.back();
    if (is_last && terms.operands[1 - operand].find(label) != std::string::npos) return std::nullopt;
    part.axis = *place;
  }
  return axes;
}

// The labels that a weight alone has and gives to the value: neighbours, in the same order in both.
inline std::string own_labels(EinsumTerms const& terms, int operand) {
  std::string const &weight = terms.operands[operand], &other = terms.operands[1 - operand];
  std::string result;
  for (char const label : weight) {
    bool const is_own = other.find(label) == std::string::npos && terms.value.find(label) != std::string::npos;
    if (is_own && (!axis_of(label, weight) || !axis_of(label, terms.value))) return {};
    if (is_own) result += label;
  }
  bool const are_together = weight.find(result) != std::string::npos && terms.value.find(result) != std::string::npos;
  return are_together ? result : std::string();
}

inline bool add_einsum(NetworkBuilder& to, int n) {
  auto const terms = einsum_terms(to.index.node(n));
  if (!terms) return false;
  auto const& node = to.index.node(n);
  for (int i = 0; i < 2; ++i) {  // tokens mixed
    auto const x = to.value(node.input(i));
    auto axes = x && x->is_known() ? axes_through(*terms, i, *x) : std::nullopt;
    if (!axes) continue;
    Index const heads = to.features(*x) / x->axes.back().length;
    to.define_output(n, to.mixed(n, x->node, {to.observed(node.input(1 - i), n)}, heads), *std::move(axes));
    return true;
  }
  for (int i = 0; i < 2; ++i) {  // a linear layer
    auto const x = to.value(node.input(1 - i));
    auto const weight = to.tensors.constant(node.input(i));
    std::string const& labels = terms->operands[i];
    std::string const own = own_labels(*terms, i);
    bool const is_plain = weight && labels.size() == static_cast<std::size_t>(weight->tensor->dims_size()) &&
                          labels.find('.') == std::string::npos;
    if (!x || !is_plain || own.empty()) continue;
    auto const begin = static_cast<int>(labels.find(own)), count = static_cast<int>(own.size());
    auto const layout = stacked_layout(to, *weight, begin, begin + count);
    if (!layout) return false;
    std::vector<FeatureAxis> axes;
    for (int k = 0; k < count; ++k) {
      auto const length = static_cast<Index>(weight->tensor->dims(begin + k));
      if (length > 1 || count == 1) axes.push_back({*axis_of(own[static_cast<std::size_t>(k)], terms->value), length});
    }
    if (axes.empty()) return false;
    std::string const parameter = to.use(*weight, *layout, ParameterKind::weight);
    NodeId const made = to.sealed_linear(n, x->node, layout->rows, layout->columns(), parameter);
    to.define_output(n, made, std::move(axes));
    return true;
  }
  return false;
}

}  // namespace foldnorm::detail
