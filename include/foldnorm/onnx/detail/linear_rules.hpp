// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/linear_rules.hpp -- ONNX operators that multiply by a constant weight, as linear and conv.
//
// A rule says whether it knows the operator in the form at hand; if not, it has done nothing.
#pragma once

#include <foldnorm/onnx/detail/network_builder.hpp>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

namespace foldnorm::detail {

// A weight of `in` inputs and `out` outputs. A table as a head's weight is [out, in], and keeps the table's layout.
inline std::optional<OnnxLayout> matrix_layout(NetworkBuilder const& to, OnnxConstant const& weight, int out_axis) {
  if (weight.tensor->dims_size() != 2) return std::nullopt;
  Index const out = weight.length(out_axis), in = weight.length(1 - out_axis);
  bool const out_is_first = (out_axis == 0) != weight.is_transposed;
  if (to.tensors.is_table(weight)) {
    OnnxLayout const table{.rows = in, .outer = out};
    return out_is_first && to.tensors.fits(weight, table, ParameterKind::table) ? std::optional(table) : std::nullopt;
  }
  OnnxLayout const layout = out_is_first ? OnnxLayout{.rows = out, .inner = in} : OnnxLayout{.rows = out, .outer = in};
  return to.tensors.fits(weight, layout, ParameterKind::weight) ? std::optional(layout) : std::nullopt;
}
inline std::string use_weight(NetworkBuilder& to, OnnxConstant const& weight, OnnxLayout const& layout) {
  return to.use(weight, layout, to.tensors.is_table(weight) ? ParameterKind::table : ParameterKind::weight);
}

// The bias of a Gemm or Conv: a constant vector, or nothing. Empty if it is something else.
struct OnnxBias {
  std::optional<OnnxConstant> constant;
  OnnxLayout layout;
  std::string use(NetworkBuilder& to) const {
    return constant ? to.use(*constant, layout, ParameterKind::vector) : std::string();
  }
};
inline std::optional<OnnxBias> find_bias(NetworkBuilder const& to, std::string const& name, Index out) {
  if (name.empty()) return OnnxBias{};
  auto const constant = to.tensors.constant(name);
  auto const layout = constant ? vector_along(*constant, -1, out) : std::nullopt;
  if (!layout || !to.tensors.fits(*constant, *layout, ParameterKind::vector)) return std::nullopt;
  return OnnxBias{constant, *layout};
}

inline bool add_matmul(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  if (node.input_size() != 2 || !to.value(node.input(0))) return false;
  auto const weight = to.tensors.constant(node.input(1));
  auto const layout = weight ? matrix_layout(to, *weight, 1) : std::nullopt;
  if (!layout) return false;
  Index const in = weight->length(0), out = weight->length(1);
  NodeId const x = to.along(node.input(0), -1, in, n);
  std::string const parameter = use_weight(to, *weight, *layout);
  auto const bias = to.follower(n, "Add", -1, out);
  std::string const bias_name = bias ? to.use(bias->constant, bias->layout, ParameterKind::vector) : std::string();
  NodeId const made = to.graph().linear(to.fresh_name(n), x, out, parameter, bias_name);
  to.network.layers[made] = {n, 1, 2, bias ? bias->node : OnnxIndex::nobody};
  to.define_output(n, made, -1);
  if (bias) {
    to.take(bias->node);
    to.define(to.index.node(bias->node).output(0), made, -1, n);
  }
  return true;
}

// alpha A W + beta b. Where that is not A W + b, weight and bias can still be centered, each by itself; in the layer
// graph's b, beta is left out, which no centering sees.
inline bool add_gemm(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  double const alpha = float_attribute(node, "alpha", 1), beta = float_attribute(node, "beta", 1);
  bool const is_plain = alpha == 1 && beta == 1 && integer_attribute(node, "transA", 0) == 0;
  auto const read = to.value(input_of(node, 0));
  if (node.input_size() < 2 || !read || !std::isfinite(alpha) || !std::isfinite(beta)) return false;
  int const out_axis = integer_attribute(node, "transB", 0) != 0 ? 0 : 1;
  auto const weight = to.tensors.constant(node.input(1));
  auto const layout = weight ? matrix_layout(to, *weight, out_axis) : std::nullopt;
  if (!layout) return false;
  Index const out = weight->length(out_axis), in = weight->length(1 - out_axis);
  auto const bias = find_bias(to, input_of(node, 2), out);
  if (!bias || (!is_plain && to.tensors.is_table(*weight))) return false;
  if (!is_plain) {
    NodeId made = to.sealed_linear(n, read->node, out, in, use_weight(to, *weight, *layout));
    to.remember(made, {n, "", 0});
    made = to.graph().scale(to.fresh_name(n), made, alpha);
    to.remember(made, {n, "", 0});
    if (bias->constant) made = to.graph().add_parameter(to.fresh_name(n, ".bias"), made, bias->use(to));
    return to.define_output(n, made, -1), true;
  }
  NodeId const x = to.along(node.input(0), -1, in, n);
  std::string const parameter = use_weight(to, *weight, *layout);
  NodeId const made = to.graph().linear(to.fresh_name(n), x, out, parameter, bias->use(to));
  to.network.layers[made] = {n, 1, 2, OnnxIndex::nobody};
  to.define_output(n, made, -1);
  return true;
}

// Features are axis 1. Where the layer graph has no such convolution (an even number of taps), or its borders are not
// as the layer graph has them (a single tap, and padding), it is a linear of all that the taps read, which is a view.
inline bool add_conv(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const weight = node.input_size() >= 2 ? to.tensors.constant(node.input(1)) : std::nullopt;
  if (!weight || weight->is_transposed || weight->tensor->dims_size() < 3 || !to.value(node.input(0))) return false;
  auto const& dims = weight->tensor->dims();
  Index const axis = 1 - dims.size(), out = dims.Get(0), in_of_group = dims.Get(1);
  std::int64_t const groups = integer_attribute(node, "group", 1);
  Index const taps = static_cast<Index>(*element_count(*weight->tensor)) / (out * in_of_group);
  if (groups < 1 || groups > out || out % groups != 0 || in_of_group * groups > largest_count) return false;
  auto const bias = find_bias(to, input_of(node, 2), out);
  bool has_padding = find_attribute(node, "auto_pad") != nullptr;
  if (auto const* const pads = find_attribute(node, "pads")) {
    for (auto const pad : pads->ints()) has_padding = has_padding || pad != 0;
  }
  bool const is_view = taps % 2 == 0 || (taps == 1 && has_padding);
  OnnxLayout const layout{.rows = out, .inner = in_of_group * taps, .kernel = is_view ? 1 : taps};
  if (!bias || (is_view && groups != 1) || !to.tensors.fits(*weight, layout, ParameterKind::weight)) return false;
  NodeId const x = is_view ? to.view_of(node.input(0), axis, in_of_group * taps, n)
                           : to.along(node.input(0), axis, in_of_group * groups, n);
  std::string const parameter = to.use(*weight, layout, ParameterKind::weight);
  std::string const name = to.fresh_name(n);
  NodeId const made = is_view ? to.graph().linear(name, x, out, parameter, bias->use(to))
                              : to.graph().conv(name, x, out, taps, parameter, bias->use(to), groups);
  to.network.layers[made] = {n, 1, 2, OnnxIndex::nobody};
  to.define_output(n, made, axis);
  return true;
}

// A linear of all that its taps make, which read a view: between and around what it reads it puts zeros, to which no
// beta can be added.
inline bool add_transposed_conv(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const weight = node.input_size() >= 2 ? to.tensors.constant(node.input(1)) : std::nullopt;
  if (!weight || weight->is_transposed || weight->tensor->dims_size() < 3 || !to.value(node.input(0))) return false;
  auto const& dims = weight->tensor->dims();
  Index const axis = 1 - dims.size(), in = dims.Get(0), out = dims.Get(1);
  Index const taps = static_cast<Index>(*element_count(*weight->tensor)) / (out * in);
  OnnxLayout const layout{.rows = out, .outer = in, .inner = taps};
  if (std::int64_t const groups = integer_attribute(node, "group", 1);
      groups != 1) {  // no layer has its weight's layout
    if (groups < 1 || out > largest_count / groups) return false;
    NodeId const made = to.graph().opaque(to.fresh_name(n), {to.value(node.input(0))->node}, out * groups);
    return to.define_output(n, made, axis), true;
  }
  auto const bias = find_bias(to, input_of(node, 2), out);
  if (!bias) return false;
  if (!to.tensors.fits(*weight, layout, ParameterKind::weight)) return false;
  NodeId const x = to.view_of(node.input(0), axis, in * taps, n);
  std::string const parameter = to.use(*weight, layout, ParameterKind::weight);
  NodeId const made = to.graph().linear(to.fresh_name(n), x, out, parameter, bias->use(to));
  to.network.layers[made] = {n, 1, 2, OnnxIndex::nobody};
  to.define_output(n, made, axis);
  return true;
}

inline bool add_embedding(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const table = to.tensors.looked_up(node);
  if (!table) return false;
  OnnxLayout const layout{.rows = table->length(1), .outer = table->length(0)};
  if (!to.tensors.fits(*table, layout, ParameterKind::table)) return false;
  if (auto const indices = to.value(node.input(1))) {  // computed, perhaps by what a shift would change
    to.remember(to.graph().opaque(to.fresh_name(n, ".indices"), {indices->node}, 1), {n, "", 0});
  }
  NodeId const ids = to.graph().ids(to.fresh_name(n, ".ids"), layout.outer);
  NodeId const made =
      to.graph().embedding(to.fresh_name(n), ids, layout.rows, to.use(*table, layout, ParameterKind::table));
  to.network.layers[made] = {n, 0, OnnxIndex::nobody, OnnxIndex::nobody};
  to.define_output(n, made, -1);
  return true;
}

}  // namespace foldnorm::detail
