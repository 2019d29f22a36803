// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/rearranging_rules.hpp -- ONNX operators that move tokens, or the axis of the features, about.
#pragma once

#include <foldnorm/onnx/detail/network_builder.hpp>
#include <foldnorm/onnx/detail/norm_rules.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace foldnorm::detail {

// What a rule here reads: a value of known axis, or a constant's tokens.
inline std::optional<OnnxValue> tokens_of(NetworkBuilder& to, std::string const& name, int n) {
  auto const found = to.value(name);
  if (found) return found->axis == 0 ? std::nullopt : found;
  return to.as_source(name, n);
}

// The value keeps its features and moves its tokens; their axis is now this one.
inline bool move_tokens(NetworkBuilder& to, int n, OnnxValue const& x, std::int64_t axis) {
  to.define_output(n, to.graph().permute_tokens(to.fresh_name(n), x.node), axis);
  return true;
}

inline std::int64_t axis_from_end(std::size_t place, std::size_t rank) {
  return static_cast<std::int64_t>(place) - static_cast<std::int64_t>(rank);
}

inline bool add_transpose(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  auto const& shape = to.shapes.of(input_of(node, 0));
  auto const place = x && x->axis != 0 ? shape.axis(x->axis) : std::nullopt;
  auto const* const perm = find_attribute(node, "perm");
  if (!place || !transposed(*shape.dims, perm)) return false;
  std::size_t const rank = shape.dims->size();
  std::size_t to_place = rank - 1 - *place;
  for (int i = 0; perm && i < perm->ints_size(); ++i) {
    if (perm->ints(i) == static_cast<std::int64_t>(*place)) to_place = static_cast<std::size_t>(i);
  }
  return move_tokens(to, n, *x, axis_from_end(to_place, rank));
}

// Reshape, Flatten, Squeeze and Unsqueeze: the order of the elements stays. The features do if their axis is there
// again, as long, and either all in front of it or all behind it has the same size as before.
inline bool add_reshape(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  if (!x || x->axis == 0 || node.output_size() == 0) return false;
  auto const& before = to.shapes.of(node.input(0));
  auto const& after = to.shapes.of(node.output(0)).dims;
  if (!after) return false;
  Index const features = to.features(*x);
  auto const place = before.axis(x->axis);
  for (std::size_t i = 0; i < after->size(); ++i) {
    std::size_t const k = after->size() - 1 - i;
    if (!(*after)[k].is(features)) continue;
    auto const behind = std::span(*after).subspan(k + 1);
    bool stays = x->axis == -1 && have_same_product(behind, {});
    if (place) {
      std::span<OnnxDim const> const dims = *before.dims;
      stays = stays || have_same_product(dims.subspan(*place + 1), behind) ||
              have_same_product(dims.first(*place), std::span(*after).first(k));
    }
    if (stays) return move_tokens(to, n, *x, axis_from_end(k, after->size()));
  }
  return false;
}

inline bool add_concat(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  if (node.input_size() == 0) return false;
  // The features' axis is that of an operand that knows it.
  std::optional<OnnxValue> leader;
  for (auto const& input : node.input()) {
    auto const found = to.value(input);
    if (found && found->axis != 0 && !leader) leader = found;
  }
  auto const axis = leader ? from_end(integer_attribute(node, "axis", 1), to.shapes.of(node.output(0))) : std::nullopt;
  if (!axis) return false;
  bool const joins_features = *axis == leader->axis;
  for (auto const& input : node.input()) {
    auto const features =
        to.value(input) ? features_along(to, input, leader->axis) : length_along(leader->axis, to.shapes.of(input));
    if (!features || (!joins_features && *features != to.features(*leader))) return false;
  }
  std::vector<NodeId> operands;
  for (auto const& input : node.input()) {
    auto const source = to.value(input) || leader->axis != -1 ? std::nullopt : to.as_source(input, n);
    Index const features =
        to.value(input) ? *features_along(to, input, leader->axis) : *length_along(leader->axis, to.shapes.of(input));
    operands.push_back(source ? source->node : to.along(input, leader->axis, features, n));
  }
  std::string const name = to.fresh_name(n);
  NodeId const made = operands.size() == 1 ? to.graph().identity(name, operands[0])
                      : joins_features     ? to.graph().concat_features(name, std::move(operands))
                                           : to.graph().concat_tokens(name, std::move(operands));
  to.define_output(n, made, leader->axis);
  return true;
}

inline bool add_slice(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = tokens_of(to, input_of(node, 0), n);
  auto const& shape = to.shapes.of(input_of(node, 0));
  auto const slice = find_slice(node, to.constants);
  auto const* const steps = find_attribute(node, "steps");
  if (!x || steps) return false;
  if (!slice) {  // bounds that only a run tells; the axes have to be known all the same
    auto const axes = to.constants.attribute_or_input(node, "axes", 3);
    auto const strides = to.constants.attribute_or_input(node, "steps", 4);
    if (!axes.values || strides.given) return false;
    for (std::int64_t const named : *axes.values) {
      auto const axis = from_end(named, shape);
      if (!axis || *axis == x->axis) return false;
    }
    return move_tokens(to, n, *x, x->axis);
  }
  NodeId made = x->node;
  for (std::size_t i = 0; i < slice->axes.size(); ++i) {
    auto const axis = from_end(slice->axes[i], shape);
    if (!axis) return false;
    if (*axis != x->axis) continue;
    auto const range = slice->range(i, OnnxDim(to.features(*x)));
    if (!range || range->first == range->second || made != x->node) return false;
    made = to.graph().slice_features(to.fresh_name(n), x->node, range->first, range->second - range->first);
  }
  if (made == x->node) return move_tokens(to, n, *x, x->axis);
  to.define_output(n, made, x->axis);
  return true;
}

inline bool add_split(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  if (!x || x->axis == 0) return false;
  auto const axis = from_end(integer_attribute(node, "axis", 0), to.shapes.of(node.input(0)));
  if (!axis) return false;
  Index const features = to.features(*x);
  auto const sizes = to.constants.attribute_or_input(node, "split", 1);
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(node.output_size()), features);
  if (*axis == x->axis) {
    if (sizes.given && !sizes.values) return false;
    if (sizes.given) lengths = *sizes.values;
    if (!sizes.given) {
      if (features % node.output_size() != 0) return false;
      std::ranges::fill(lengths, features / node.output_size());
    }
    std::int64_t sum = 0;
    for (std::int64_t const length : lengths) {
      if (length < 1 || length > features) return false;
      sum += length;
    }
    if (sum != features || lengths.size() != static_cast<std::size_t>(node.output_size())) return false;
  }
  Index begin = 0;
  for (int k = 0; k < node.output_size(); ++k) {
    Index const length = lengths[static_cast<std::size_t>(k)];
    if (!node.output(k).empty()) {
      std::string const name = to.fresh_name(node.output(k));
      NodeId const part = *axis == x->axis ? to.graph().slice_features(name, x->node, begin, length)
                                           : to.graph().permute_tokens(name, x->node);
      to.define(node.output(k), part, x->axis, n);
    }
    begin += length;
  }
  return true;
}

// Of tokens: entries of an axis that is not the features'.
inline bool add_gathered_tokens(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const& shape = to.shapes.of(input_of(node, 0));
  auto const indices = to.shapes.of(input_of(node, 1)).rank();
  auto const axis = from_end(integer_attribute(node, "axis", 0), shape);
  if (node.input_size() != 2 || !axis || !indices || !to.is_static(node.input(1)) || to.value(node.input(1))) {
    return false;
  }
  auto const x = tokens_of(to, node.input(0), n);
  if (!x || *axis == x->axis) return false;
  auto const moved = *axis > x->axis ? static_cast<std::int64_t>(*indices) - 1 : 0;  // axes behind the features
  return move_tokens(to, n, *x, x->axis - moved);
}

inline bool add_reduction(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  auto const axes = to.constants.attribute_or_input(node, "axes", 1);
  if (!x || x->axis == 0 || !axes.values || axes.values->empty()) return false;
  std::int64_t behind = 0;
  std::vector<std::int64_t> seen;
  for (std::int64_t const named : *axes.values) {
    auto const axis = from_end(named, to.shapes.of(node.input(0)));
    if (!axis || *axis == x->axis || std::ranges::count(seen, *axis) > 0) return false;
    seen.push_back(*axis);
    if (*axis > x->axis) ++behind;
  }
  bool const keeps = integer_attribute(node, "keepdims", 1) != 0;
  bool const is_linear = node.op_type() == "ReduceMean" || node.op_type() == "ReduceSum";
  Operator const op = is_linear ? Operator::mean_tokens : Operator::max_tokens;
  NodeId const made = to.graph().append(op, to.fresh_name(n), {x->node});
  to.define_output(n, made, keeps ? x->axis : x->axis + behind);
  return true;
}

// Pools are over all axes but the first two.
inline bool add_pool(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  auto const rank = to.shapes.of(input_of(node, 0)).rank();
  if (!x || !rank || x->axis != 1 - static_cast<std::int64_t>(*rank)) return false;
  if (node.output_size() > 1 && !node.output(1).empty()) return false;
  bool const is_linear = node.op_type().find("Average") != std::string::npos;
  Operator const op = is_linear ? Operator::mean_tokens : Operator::max_tokens;
  to.define_output(n, to.graph().append(op, to.fresh_name(n), {x->node}), x->axis);
  return true;
}

// The axis of the features, longer than 1, cannot be among those that are repeated.
inline bool add_expand(NetworkBuilder& to, int n) {
  auto const x = tokens_of(to, input_of(to.index.node(n), 0), n);
  return x && to.features(*x) > 1 && move_tokens(to, n, *x, x->axis);
}

}  // namespace foldnorm::detail
