// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/elementwise_rules.hpp -- ONNX operators that combine values element by element.
#pragma once

#include <foldnorm/onnx/detail/network_builder.hpp>
#include <foldnorm/onnx/detail/norm_rules.hpp>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace foldnorm::detail {

// A function of each element alone. Which one it is plays no part: those that the layer graph does not name are gelu.
inline bool add_activation(NetworkBuilder& to, int n) {
  static std::unordered_map<std::string_view, Operator> const named{
      {"Relu", Operator::relu}, {"Tanh", Operator::tanh}, {"Sigmoid", Operator::sigmoid}, {"Swish", Operator::silu}};
  auto const& node = to.index.node(n);
  auto const x = node.input_size() > 0 ? to.value(node.input(0)) : std::nullopt;
  if (!x || !x->is_known()) return false;
  for (int i = 1; i < node.input_size(); ++i) {
    if (to.value(node.input(i))) return false;  // Clip's bounds, computed
  }
  auto const found = named.find(node.op_type());
  Operator const op = found == named.end() ? Operator::gelu : found->second;
  to.define_output(n, to.graph().append(op, to.fresh_name(n), {x->node}), x->axes);
  return true;
}

// Passes its first input on.
inline bool add_identity(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = node.input_size() > 0 ? to.value(node.input(0)) : std::nullopt;
  if (!x || !x->is_known()) return false;
  bool const is_cast = node.op_type() == "Cast";
  if (is_cast && !is_weight_type(static_cast<std::int32_t>(integer_attribute(node, "to", 0)))) return false;
  if (node.op_type() == "Dropout") {
    std::string const training = input_of(node, 2);
    bool const is_inference = training.empty() || to.constants.scalar(training) == 0.0;
    bool const has_mask = node.output_size() > 1 && !node.output(1).empty() && to.index.uses(node.output(1)) > 0;
    if (!is_inference || has_mask) return false;
  }
  to.define_output(n, to.graph().identity(to.fresh_name(n), x->node), x->axes);
  return true;
}

inline bool add_negation(NetworkBuilder& to, int n) {
  auto const x = to.value(input_of(to.index.node(n), 0));
  if (!x || !x->is_known()) return false;
  to.define_output(n, to.graph().scale(to.fresh_name(n), x->node, -1), x->axes);
  return true;
}

// Of two operands, of which one may be static, the value along whose features both are read: one whose features come
// from something known. None if the other one has not so many there.
inline std::optional<OnnxValue> leading(NetworkBuilder const& to, std::string const& a_name,
                                        std::string const& b_name) {
  auto const a = to.value(a_name), b = to.value(b_name);
  auto const says = [&](OnnxValue const& value) {
    Operator const op = to.network.graph.node(value.node).op;
    return op != Operator::opaque && op != Operator::input;
  };
  auto const leads = [&](std::optional<OnnxValue> const& value, std::string const& other) {
    return value && value->axis != 0 && features_along(to, other, value->axis) == to.features(*value);
  };
  bool const a_leads = leads(a, b_name), b_leads = leads(b, a_name);
  if (a_leads && (says(*a) || !b_leads)) return a;
  return b_leads ? b : std::nullopt;
}

// One factor, or summand, for all features of a token: a value or constant with a single entry along the axis.
inline bool is_common(NetworkBuilder const& to, std::string const& name, std::int64_t axis) {
  auto const& shape = to.shapes.of(name);
  if (!shape.dims) return false;
  return -axis > static_cast<std::int64_t>(shape.dims->size()) || length_along(axis, shape) == 1;
}

inline bool add_sum(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  if (node.input_size() != 2) return false;
  for (int i = 0; i < 2; ++i) {
    auto const constant = to.tensors.constant(node.input(1 - i));
    auto const x = to.value(node.input(i));
    if (!constant || !x || x->axis == 0) continue;
    Index const features = to.features(*x);
    std::string const name = node.input(1 - i);
    bool const is_zero = to.constants.scalar(name) == 0.0 && constant->tensor->dims_size() == 0;
    if (is_zero) {
      bool const negates = node.op_type() == "Sub" && i == 1;  // 0 - x
      NodeId const made =
          negates ? to.graph().scale(to.fresh_name(n), x->node, -1) : to.graph().identity(to.fresh_name(n), x->node);
      return to.define_output(n, made, x->axis), true;
    }
    if (auto const vector = vector_along(*constant, x->axis, features);
        vector && to.tensors.fits(*constant, *vector, ParameterKind::vector)) {
      std::string const parameter = to.use(*constant, *vector, ParameterKind::vector);
      return to.define_output(n, to.graph().add_parameter(to.fresh_name(n), x->node, parameter), x->axis), true;
    }
    if (auto const tokens = tokens_along(*constant, x->axis, features);
        tokens && to.tensors.fits(*constant, *tokens, ParameterKind::tokens)) {
      std::string const parameter = to.use(*constant, *tokens, ParameterKind::tokens);
      return to.define_output(n, to.graph().add_token_parameter(to.fresh_name(n), x->node, parameter), x->axis), true;
    }
    return false;
  }
  if (!to.value(node.input(0)) || !to.value(node.input(1))) return false;
  auto const leader = leading(to, node.input(0), node.input(1));
  if (!leader) return false;
  NodeId const a = to.along(node.input(0), *leader, n), b = to.along(node.input(1), *leader, n);
  bool const subtracts = node.op_type() == "Sub";
  NodeId const made =
      subtracts ? to.graph().subtract(to.fresh_name(n), a, b) : to.graph().add(to.fresh_name(n), {a, b});
  to.define_output(n, made, leader->axis);
  return true;
}

// Mul, and Div by its second input.
inline bool add_product(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  if (node.input_size() != 2) return false;
  bool const divides = node.op_type() == "Div";
  for (int i = 0; i < (divides ? 1 : 2); ++i) {
    std::string const factor = node.input(1 - i);
    auto const x = to.value(node.input(i));
    if (!x || !x->is_known()) continue;
    if (auto const scalar = to.constants.scalar(factor)) {
      double const by = divides ? 1 / *scalar : *scalar;
      if (!std::isfinite(by)) return false;
      return to.define_output(n, to.graph().scale(to.fresh_name(n), x->node, by), x->axes), true;
    }
    if (x->axis == 0) continue;
    if (to.features(*x) > 1 && is_common(to, factor, x->axis)) {
      if (!to.value(factor)) {  // a constant of each token
        return to.define_output(n, to.graph().scale(to.fresh_name(n), x->node, 1), x->axis), true;
      }
      // A computed one: like attention of each token to itself alone, it is the same for all features.
      return to.define_output(n, to.mixed(n, x->node, {to.observed(factor, n)}), x->axis), true;
    }
    auto const constant = divides ? std::nullopt : to.tensors.constant(factor);
    auto const vector = constant ? vector_along(*constant, x->axis, to.features(*x)) : std::nullopt;
    if (vector && to.tensors.fits(*constant, *vector, ParameterKind::vector)) {
      std::string const parameter = to.use(*constant, *vector, ParameterKind::vector);
      NodeId const read = to.from_scope_of(n, node.input(i), x->node, to.adds_axes(*constant, node.input(i)));
      return to.define_output(n, to.graph().scale_channels(to.fresh_name(n), read, parameter), x->axis), true;
    }
  }
  if (divides || !to.value(node.input(0)) || !to.value(node.input(1))) return false;
  auto const leader = leading(to, node.input(0), node.input(1));
  if (!leader) return false;
  NodeId const a = to.along(node.input(0), *leader, n), b = to.along(node.input(1), *leader, n);
  to.define_output(n, to.graph().multiply(to.fresh_name(n), a, b), leader->axis);
  return true;
}

// Where: of two operands, by a condition. One that is the same for all features of a token weighs them with 1 and 0.
inline bool add_choice(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  if (node.input_size() != 3) return false;
  std::string const condition = node.input(0);
  std::string a = node.input(1), b = node.input(2);
  if (!to.value(a)) std::swap(a, b);
  bool const drops = !to.value(b) && to.constants.scalar(b) == 0.0;  // chooses a, or zeros
  bool const is_scalar = !to.value(b) && to.value(a) && is_common(to, b, to.value(a)->axis);
  auto const leader = is_scalar ? to.value(a) : leading(to, a, b);
  if (!leader || leader->axis == 0) return false;
  bool const is_common_choice = is_common(to, condition, leader->axis);
  if (!is_common_choice && length_along(leader->axis, to.shapes.of(condition)) != to.features(*leader)) return false;
  to.watch(condition, n, ".condition");
  NodeId const x = to.along(a, *leader, n);
  if (drops && is_common_choice) return to.define_output(n, to.mixed(n, x, {}), leader->axis), true;
  auto const source = to.value(b) || is_scalar || leader->axis != -1 ? std::nullopt : to.as_source(b, n);
  NodeId const other = source ? source->node : to.along(b, *leader, n);
  NodeId const made =
      is_common_choice ? to.graph().add(to.fresh_name(n), {x, other}) : to.graph().multiply(to.fresh_name(n), x, other);
  to.define_output(n, made, leader->axis);
  return true;
}

}  // namespace foldnorm::detail
