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
  if (!x || x->axis == 0) return false;
  for (int i = 1; i < node.input_size(); ++i) {
    if (to.value(node.input(i))) return false;  // Clip's bounds, computed
  }
  auto const found = named.find(node.op_type());
  Operator const op = found == named.end() ? Operator::gelu : found->second;
  to.define_output(n, to.graph().append(op, to.fresh_name(n), {x->node}), x->axis);
  return true;
}

// Passes its first input on.
inline bool add_identity(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = node.input_size() > 0 ? to.value(node.input(0)) : std::nullopt;
  if (!x || x->axis == 0) return false;
  bool const is_cast = node.op_type() == "Cast";
  if (is_cast && !is_weight_type(static_cast<std::int32_t>(integer_attribute(node, "to", 0)))) return false;
  if (node.op_type() == "Dropout") {
    std::string const training = input_of(node, 2);
    bool const is_inference = training.empty() || to.constants.scalar(training) == 0.0;
    bool const has_mask = node.output_size() > 1 && !node.output(1).empty() && to.index.uses(node.output(1)) > 0;
    if (!is_inference || has_mask) return false;
  }
  to.define_output(n, to.graph().identity(to.fresh_name(n), x->node), x->axis);
  return true;
}

inline bool add_negation(NetworkBuilder& to, int n) {
  auto const x = to.value(input_of(to.index.node(n), 0));
  if (!x || x->axis == 0) return false;
  to.define_output(n, to.graph().scale(to.fresh_name(n), x->node, -1), x->axis);
  return true;
}

// Two values, one along the other's features. The one whose features come from something known says which they are.
struct AlignedOperands {
  NodeId a, b;
  std::int64_t axis = 0;
};
inline std::optional<AlignedOperands> align(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const a = to.value(node.input(0)), b = to.value(node.input(1));
  auto const is_known = [&](OnnxValue const& value) {
    Operator const op = to.graph().node(value.node).op;
    return value.axis != 0 && op != Operator::opaque && op != Operator::input;
  };
  auto const leads = [&](std::optional<OnnxValue> const& value, std::string const& other) {
    return value && value->axis != 0 && features_along(to, other, value->axis) == to.features(*value);
  };
  bool const a_leads = leads(a, node.input(1)), b_leads = leads(b, node.input(0));
  if (!a_leads && !b_leads) return std::nullopt;
  OnnxValue const& leader = a_leads && (is_known(*a) || !b_leads) ? *a : b_leads ? *b : *a;
  Index const features = to.features(leader);
  return AlignedOperands{to.along(node.input(0), leader.axis, features, n),
                         to.along(node.input(1), leader.axis, features, n), leader.axis};
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
    auto const constant = to.constant(node.input(1 - i));
    auto const x = to.value(node.input(i));
    if (!constant || !x || x->axis == 0) continue;
    Index const features = to.features(*x);
    std::string const name = node.input(1 - i);
    bool const is_zero = to.constants.scalar(name) == 0.0 && constant->tensor->dims_size() == 0;
    if (is_zero) return to.define_output(n, to.graph().identity(to.fresh_name(n), x->node), x->axis), true;
    if (auto const vector = vector_along(*constant, x->axis, features);
        vector && to.fits(*constant, *vector, NetworkBuilder::Kind::vector)) {
      std::string const parameter = to.use(*constant, *vector, NetworkBuilder::Kind::vector);
      return to.define_output(n, to.graph().add_parameter(to.fresh_name(n), x->node, parameter), x->axis), true;
    }
    if (auto const tokens = tokens_along(*constant, x->axis, features);
        tokens && to.fits(*constant, *tokens, NetworkBuilder::Kind::tokens)) {
      std::string const parameter = to.use(*constant, *tokens, NetworkBuilder::Kind::tokens);
      return to.define_output(n, to.graph().add_token_parameter(to.fresh_name(n), x->node, parameter), x->axis), true;
    }
    return false;
  }
  if (!to.value(node.input(0)) || !to.value(node.input(1))) return false;
  auto const operands = align(to, n);
  if (!operands) return false;
  bool const subtracts = node.op_type() == "Sub";
  NodeId const made = subtracts ? to.graph().subtract(to.fresh_name(n), operands->a, operands->b)
                                : to.graph().add(to.fresh_name(n), {operands->a, operands->b});
  to.define_output(n, made, operands->axis);
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
    if (!x || x->axis == 0) continue;
    auto const scalar = to.constants.scalar(factor);
    if (scalar && is_common(to, factor, x->axis)) {
      double const by = divides ? 1 / *scalar : *scalar;
      if (!std::isfinite(by)) return false;
      return to.define_output(n, to.graph().scale(to.fresh_name(n), x->node, by), x->axis), true;
    }
    if (to.features(*x) > 1 && is_common(to, factor, x->axis)) {
      if (!to.value(factor)) {  // a constant of each token
        return to.define_output(n, to.graph().scale(to.fresh_name(n), x->node, 1), x->axis), true;
      }
      // A computed one: like attention of each token to itself alone, it is the same for all features.
      NodeId const seen = to.observed(factor, n);
      NodeId const weights = to.graph().opaque(to.fresh_name(n, ".factor"), {seen}, 1);
      to.remember(weights, {n, "", 0});
      return to.define_output(n, to.graph().attention(to.fresh_name(n), weights, weights, x->node), x->axis), true;
    }
    auto const constant = divides ? std::nullopt : to.constant(factor);
    auto const vector = constant ? vector_along(*constant, x->axis, to.features(*x)) : std::nullopt;
    if (vector && to.fits(*constant, *vector, NetworkBuilder::Kind::vector)) {
      std::string const parameter = to.use(*constant, *vector, NetworkBuilder::Kind::vector);
      return to.define_output(n, to.graph().scale_channels(to.fresh_name(n), x->node, parameter), x->axis), true;
    }
  }
  if (divides || !to.value(node.input(0)) || !to.value(node.input(1))) return false;
  auto const operands = align(to, n);
  if (!operands) return false;
  to.define_output(n, to.graph().multiply(to.fresh_name(n), operands->a, operands->b), operands->axis);
  return true;
}

// Of two computed values, or with a constant on the left: tokens mixed by weights that all features share, where the
// right one's features are its last axis.
inline bool add_mixed_tokens(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const values = node.input_size() == 2 ? to.value(node.input(1)) : std::nullopt;
  auto const rank = values ? to.shapes.of(node.input(1)).rank() : std::nullopt;
  if (!values || values->axis != -1 || rank.value_or(0) < 2) return false;
  NodeId const seen = to.observed(node.input(0), n);
  NodeId const weights = to.graph().opaque(to.fresh_name(n, ".weights"), {seen}, 1);
  to.remember(weights, {n, "", 0});
  to.define_output(n, to.graph().attention(to.fresh_name(n), weights, weights, values->node), -1);
  return true;
}

}  // namespace foldnorm::detail
