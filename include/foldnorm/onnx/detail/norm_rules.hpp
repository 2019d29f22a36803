// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/norm_rules.hpp -- norms and softmax of ONNX, fused or written out, along one feature axis.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/onnx/detail/network_builder.hpp>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace foldnorm::detail {

// The axis as counted from the end; empty where the rank is needed and not known.
inline std::optional<std::int64_t> from_end(std::int64_t axis, OnnxShape const& shape) {
  if (axis < 0) return axis;
  auto const place = shape.axis(axis);
  if (!place) return std::nullopt;
  return static_cast<std::int64_t>(*place) - static_cast<std::int64_t>(shape.dims->size());
}

// The length of an axis, where it is a number.
inline std::optional<Index> length_along(std::int64_t axis, OnnxShape const& shape) {
  auto const place = shape.axis(axis);
  if (!place || !(*shape.dims)[*place].is_known()) return std::nullopt;
  std::int64_t const length = (*shape.dims)[*place].number();
  return length > 0 && length <= largest_count ? std::optional<Index>(length) : std::nullopt;
}

// The features of a value along an axis: what makes it may know them where the shape does not.
inline std::optional<Index> features_along(NetworkBuilder const& to, std::string const& name, std::int64_t axis) {
  auto const value = to.value(name);
  if (value && value->axis == axis) return to.features(*value);
  return length_along(axis, to.shapes.of(name));
}

// Where a norm that is written out works, once what it reads is there: the axis, from the end, and the features. Not
// one whose constants give the value more axes: an operator in its place would not.
inline std::optional<std::pair<std::int64_t, Index>> place_of(NetworkBuilder const& to, NormPattern const& pattern) {
  auto const rank = to.shapes.of(pattern.input).rank();
  auto const result_rank = to.shapes.of(to.index.node(pattern.nodes.back()).output(0)).rank();
  if (rank && result_rank && *rank != *result_rank) return std::nullopt;
  auto const axis = from_end(pattern.axis, to.shapes.of(pattern.input));
  auto const features = axis ? features_along(to, pattern.input, *axis) : std::nullopt;
  return features && to.value(pattern.input) ? std::optional(std::pair(*axis, *features)) : std::nullopt;
}

// The value where a norm over this axis normalizes each head by itself: it is cut, with the heads' features along
// there.
inline std::optional<OnnxValue> cut_along(NetworkBuilder const& to, std::string const& name, std::int64_t axis,
                                          Index features) {
  auto const x = to.value(name);
  bool const is_cut = x && x->axes.size() > 1 && x->axes.back().axis == axis && x->axes.back().length == features;
  return is_cut ? x : std::nullopt;
}
// A LayerNorm of each head. Gamma and beta, the same for all of them, are none of its parameters: they stay.
inline NodeId add_norm_of_heads(NetworkBuilder& to, int n, OnnxValue const& x, double epsilon) {
  Index const heads = to.features(x) / x.axes.back().length;
  return to.graph().layer_norm(to.fresh_name(n), x.node, {}, {}, {.eps = epsilon, .groups = heads});
}

// One node for a norm that is written out, with gamma and beta where they come behind it. Precondition: it has a place.
inline void add_norm_pattern(NetworkBuilder& to, NormPattern const& pattern) {
  int const last = pattern.nodes.back();
  auto const [axis, features] = *place_of(to, pattern);
  auto const cut = pattern.subtracts_mean ? cut_along(to, pattern.input, axis, features) : std::nullopt;
  if (cut) {
    NodeId const made = add_norm_of_heads(to, last, *cut, pattern.epsilon);
    to.define_output(last, made, cut->axes);
    to.network.norms.emplace(made, OnnxNorm{pattern, last});
    return;
  }
  NodeId const x = to.along(pattern.input, axis, features, last);
  OnnxNorm norm{pattern, last};
  // One that cannot go is an operator of its own.
  auto const part = [&to, axis = axis, features = features](int n, char const* type) {
    auto found = to.follower(n, type, axis, features);
    if (found && to.adds_axes(found->constant, to.index.node(n).output(0))) found.reset();
    return found;
  };
  auto const gamma = part(last, "Mul");
  if (gamma) norm.gamma_node = gamma->node;
  // Without a gamma, what is added is a parameter of the stream, which may be centered.
  auto const beta = gamma ? part(gamma->node, "Add") : std::nullopt;
  if (beta) norm.beta_node = beta->node;
  auto const use = [&](auto const& found) {
    return found ? to.use(found->constant, found->layout, ParameterKind::vector) : std::string();
  };
  std::string const gamma_name = use(gamma), beta_name = use(beta);
  Operator const op = pattern.subtracts_mean ? Operator::layer_norm : Operator::rms_norm;
  NodeId const made =
      to.graph().append(op, to.fresh_name(last), {x},
                        {{{Key::eps, pattern.epsilon}}, {{Key::gamma, gamma_name}, {Key::beta, beta_name}}});
  to.define_output(last, made, axis);
  for (int const follower : {norm.gamma_node, norm.beta_node}) {
    if (follower == OnnxIndex::nobody) continue;
    to.take(follower);
    to.define(to.index.node(follower).output(0), made, axis, last);
  }
  to.network.norms.emplace(made, std::move(norm));
}

// LayerNormalization, and RMSNorms of ONNX and of ONNX Runtime.
inline bool add_fused_norm(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  bool const is_layer_norm = node.op_type() == "LayerNormalization";
  auto const refuse = [&](char const* reason) {
    if (is_layer_norm) to.refuse(n, reason);
    return false;
  };
  double const epsilon = float_attribute(node, "epsilon", 1e-5);
  if (!(std::isfinite(epsilon) && epsilon >= 0)) {
    detail::raise<onnx_error>(to.file.name() + ": " + node_text(node) + ": epsilon " + std::to_string(epsilon) +
                              ", expected a finite number >= 0");
  }
  if (node.input_size() < 2 || node.output_size() < 1 || node.output(0).empty()) return refuse("it is malformed");
  for (int k = 1; k < node.output_size(); ++k) {
    if (!node.output(k).empty() && to.index.uses(node.output(k)) > 0) return refuse("its mean or deviation is read");
  }
  auto const axis = from_end(integer_attribute(node, "axis", -1), to.shapes.of(node.input(0)));
  if (axis != -1) return refuse("it normalizes more than the last axis");
  auto const gamma = to.tensors.constant(node.input(1));
  std::string const beta_value = input_of(node, 2);
  auto const beta = to.tensors.constant(beta_value);
  if (!gamma || gamma->tensor->dims_size() != 1 || (!beta && !beta_value.empty())) {
    return refuse("gamma or beta is no constant vector");
  }
  Index const features = gamma->length(0);
  OnnxLayout const layout{.rows = features};
  auto const kind = ParameterKind::vector;
  bool const fits = to.tensors.fits(*gamma, layout, kind) &&
                    (!beta || (vector_along(*beta, -1, features) && to.tensors.fits(*beta, layout, kind)));
  if (!fits || !to.value(node.input(0))) return refuse("gamma or beta is used as another kind of parameter, too");
  check_tensor(*gamma->tensor, layout, to.file);  // also where they are no parameters and stay as they are
  if (beta) check_tensor(*beta->tensor, layout, to.file);
  if (auto const cut = is_layer_norm ? cut_along(to, node.input(0), -1, features) : std::nullopt) {
    NodeId const norm = add_norm_of_heads(to, n, *cut, epsilon);
    to.remember(norm, {n, "", 0});
    to.network.norms.emplace(norm, OnnxNorm{std::nullopt, n});
    NodeId const scaled = to.graph().opaque(to.fresh_name(n, ".affine"), {norm}, to.features(*cut));
    to.define_output(n, scaled, cut->axes);
    return true;
  }
  NodeId const x = to.along(node.input(0), -1, features, n);
  std::string const gamma_name = to.use(*gamma, layout, kind);
  std::string const beta_name = beta ? to.use(*beta, layout, kind) : std::string();
  NodeId const made =
      to.graph().append(is_layer_norm ? Operator::layer_norm : Operator::rms_norm, to.fresh_name(n), {x},
                        {{{Key::eps, epsilon}}, {{Key::gamma, gamma_name}, {Key::beta, beta_name}}});
  to.define_output(n, made, -1);
  to.network.norms.emplace(made, OnnxNorm{std::nullopt, n});
  return true;
}

// At inference a factor and a shift for each channel, computed from its four parameters, which stay as they are.
inline bool add_batch_norm(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const rank = node.input_size() == 5 ? to.shapes.of(node.input(0)).rank() : std::nullopt;
  if (!rank || *rank < 2 || integer_attribute(node, "spatial", 1) != 1 ||
      integer_attribute(node, "training_mode", 0) != 0 || !to.value(node.input(0))) {
    return false;
  }
  for (int k = 1; k < node.output_size(); ++k) {
    if (!node.output(k).empty()) return false;
  }
  Vector<double> values[4];
  for (int i = 0; i < 4; ++i) {
    auto const constant = to.tensors.constant(node.input(i + 1));
    auto found = constant ? to.constants.numbers(constant->name) : std::nullopt;
    if (!found || (i > 0 && found->size() != values[0].size())) return false;
    values[i] = *std::move(found);
  }
  double const epsilon = float_attribute(node, "epsilon", 1e-5);
  Vector<double> const scale = values[0].array() / (values[3].array() + epsilon).sqrt();
  Vector<double> const shift = values[1].array() - values[2].array() * scale.array();
  if (!scale.allFinite() || !shift.allFinite()) return false;
  std::int64_t const axis = 1 - static_cast<std::int64_t>(*rank);
  NodeId const x = to.from_scope_of(n, node.input(0), to.along(node.input(0), axis, scale.size(), n));
  std::string const name = to.fresh_name(n);
  NodeId const made =
      to.graph().batch_norm(name, x, to.add_computed(name + ".scale", scale), to.add_computed(name + ".shift", shift));
  to.define_output(n, made, axis);
  return true;
}

// Before opset 13 it works on all axes from the one named on, so that this has to be the last.
inline bool add_softmax(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  if (node.input_size() != 1 || !to.value(node.input(0))) return false;
  auto const axis = from_end(integer_attribute(node, "axis", to.opset < 13 ? 1 : -1), to.shapes.of(node.input(0)));
  auto const features = axis ? features_along(to, node.input(0), *axis) : std::nullopt;
  if (!features || (to.opset < 13 && *axis != -1)) return false;
  NodeId const x = to.along(node.input(0), *axis, *features, n);
  to.define_output(n, to.graph().softmax(to.fresh_name(n), x), *axis);
  return true;
}

}  // namespace foldnorm::detail
