// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/token_rules.hpp -- ONNX operators that choose, repeat, pad and mix tokens, and leave features
// alone.
//
// Tokens that are copies or averages of others bear what every token had added; sums, zeros and cubic weights do not.
// To a shift they are all alike, but not to a beta that moves on: what sums to one is permute_tokens or mean_tokens,
// the rest is mixed.
#pragma once

#include <foldnorm/onnx/detail/network_builder.hpp>
#include <foldnorm/onnx/detail/norm_rules.hpp>
#include <foldnorm/onnx/detail/rearranging_rules.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace foldnorm::detail {

// Entries of an axis: of tokens; or one of the first axis that features are cut along.
inline bool add_gathered_tokens(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const& shape = to.shapes.of(input_of(node, 0));
  auto const indices = to.shapes.of(input_of(node, 1)).rank();
  auto const axis = from_end(integer_attribute(node, "axis", 0), shape);
  if (node.input_size() != 2 || !axis || !indices || !to.is_static(node.input(1)) || to.value(node.input(1))) {
    return false;
  }
  auto const x = tokens_of(to, node.input(0), n);
  if (!x) return false;
  auto const move = [&](std::vector<FeatureAxis> axes) {  // those in front of indices that are no single one
    for (FeatureAxis& part : axes) part.axis -= *axis > part.axis ? static_cast<std::int64_t>(*indices) - 1 : 0;
    return axes;
  };
  if (!lies_along(*x, *axis)) return move_tokens(to, n, *x, move(x->axes));
  auto const place = to.constants.integers(node.input(1));
  bool const is_first = *axis == x->axes.front().axis && x->axes.size() > 1;
  if (!is_first || !place || place->size() != 1) return false;
  Index const length = x->axes.front().length;
  Index const begin = place->front() < 0 ? place->front() + length : place->front();
  if (begin < 0 || begin >= length) return false;
  to.define_output(n, part_of(to, to.fresh_name(n), *x, begin, 1), move(axes_of_part(*x, 1)));
  return true;
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
  std::int64_t const to_axis = keeps ? x->axis : x->axis + behind;
  if (node.op_type() == "ReduceSum") return to.define_output(n, to.mixed(n, x->node, {}), to_axis), true;
  Operator const op = node.op_type() == "ReduceMean" ? Operator::mean_tokens : Operator::max_tokens;
  to.define_output(n, to.graph().append(op, to.fresh_name(n), {x->node}), to_axis);
  return true;
}

// Are there zeros around what a pool reads that it counts?
inline bool counts_padding(::onnx::NodeProto const& node) {
  if (integer_attribute(node, "count_include_pad", 0) == 0) return false;
  std::string const automatic = text_attribute(node, "auto_pad", "NOTSET");
  bool has_padding = (automatic != "NOTSET" && automatic != "VALID") || integer_attribute(node, "ceil_mode", 0) != 0;
  if (auto const* const pads = find_attribute(node, "pads")) {
    for (auto const pad : pads->ints()) has_padding = has_padding || pad != 0;
  }
  return has_padding;
}

// Pools are over all axes but the first two.
inline bool add_pool(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  auto const rank = to.shapes.of(input_of(node, 0)).rank();
  if (!x || x->axis == 0 || !rank || x->axis != 1 - static_cast<std::int64_t>(*rank)) return false;
  if (node.output_size() > 1 && !node.output(1).empty()) return false;
  bool const is_linear = node.op_type().find("Average") != std::string::npos;
  if (is_linear && counts_padding(node)) return to.define_output(n, to.mixed(n, x->node, {}), x->axis), true;
  Operator const op = is_linear ? Operator::mean_tokens : Operator::max_tokens;
  to.define_output(n, to.graph().append(op, to.fresh_name(n), {x->node}), x->axis);
  return true;
}

// The axis of the features, longer than 1, cannot be among those that are repeated.
inline bool add_expand(NetworkBuilder& to, int n) {
  auto const x = tokens_of(to, input_of(to.index.node(n), 0), n);
  if (!x) return false;
  for (FeatureAxis const& part : x->axes) {
    if (part.length == 1) return false;
  }
  return move_tokens(to, n, *x);
}

// Of lengths, paddings, factors by axis: where the entry of this axis is. Axes that `named` leaves out have none: then
// it is `count`.
inline std::size_t entry_of(std::size_t axis, std::size_t count, OnnxShape const& shape,
                            std::optional<std::vector<std::int64_t>> const& named) {
  if (!named) return axis;
  for (std::size_t i = 0; i < named->size(); ++i) {
    if (shape.axis((*named)[i]) == axis) return i;
  }
  return count;
}

inline bool add_tile(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  auto const& shape = to.shapes.of(input_of(node, 0));
  auto const& repeats = to.shapes.of(input_of(node, 1)).contents;
  if (!x || !x->is_known() || !shape.dims || !repeats || repeats->size() != shape.dims->size()) return false;
  for (FeatureAxis const& part : x->axes) {
    auto const place = shape.axis(part.axis);
    if (!place || !(*repeats)[*place].is(1)) return false;
  }
  return move_tokens(to, n, *x);
}

// Along other axes than the features': by copies of tokens, by zeros, or by tokens of another number.
inline bool add_pad(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  auto const& shape = to.shapes.of(input_of(node, 0));
  auto const place = x && x->axis != 0 ? shape.axis(x->axis) : std::nullopt;
  auto const axes = to.constants.attribute_or_input(node, "axes", 3);
  auto const pads = paddings(node, to.shapes.of(input_of(node, 1)));
  if (!place || !pads || (axes.given && !axes.values) || to.value(input_of(node, 2))) return false;
  std::size_t const count = axes.values ? axes.values->size() : shape.dims->size();
  if (pads->size() != 2 * count) return false;
  std::size_t const entry = entry_of(*place, count, shape, axes.values);
  if (entry < count && !((*pads)[entry].is(0) && (*pads)[count + entry].is(0))) return false;
  if (text_attribute(node, "mode", "constant") != "constant") return move_tokens(to, n, *x);
  std::string const value = input_of(node, 2);
  bool const is_zero =
      value.empty() ? float_attribute(node, "value", 0) == 0 : to.constants.scalar(value).value_or(1) == 0;
  if (is_zero) return to.define_output(n, to.mixed(n, x->node, {}), x->axis), true;
  NodeId const padding = to.graph().opaque(to.fresh_name(n, ".padding"), {}, to.features(*x));
  to.remember(padding, {n, "", 0});
  to.define_output(n, to.graph().concat_tokens(to.fresh_name(n), {x->node, padding}), x->axis);
  return true;
}

// Does a Resize or Upsample leave the axis at this place as it is?
inline bool keeps_axis(NetworkBuilder const& to, ::onnx::NodeProto const& node, std::size_t place) {
  OnnxShape const& shape = to.shapes.of(node.input(0));
  auto const* const named = find_attribute(node, "axes");
  auto const axes =
      named ? std::optional(std::vector<std::int64_t>(named->ints().begin(), named->ints().end())) : std::nullopt;
  std::size_t const count = axes ? axes->size() : shape.dims->size();
  std::size_t const entry = entry_of(place, count, shape, axes);
  if (entry == count) return true;
  if (text_attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch") return false;
  if (auto const* const scales = find_attribute(node, "scales")) {
    return static_cast<std::size_t>(scales->floats_size()) == count && scales->floats(static_cast<int>(entry)) == 1;
  }
  std::string const factors = input_of(node, node.op_type() == "Upsample" || to.opset < 11 ? 1 : 2);
  if (auto const scales = factors.empty() ? std::nullopt : to.constants.numbers(factors)) {
    return static_cast<std::size_t>(scales->size()) == count && (*scales)[static_cast<Index>(entry)] == 1;
  }
  auto const& sizes = to.shapes.of(input_of(node, 3)).contents;
  return sizes && sizes->size() == count && (*sizes)[entry] == (*shape.dims)[place];
}

// Resize and Upsample: each feature by itself, all by the same weights, unless the features' own axis is resized.
inline bool add_resize(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  auto const place = x && x->axis != 0 ? to.shapes.of(node.input(0)).axis(x->axis) : std::nullopt;
  bool const crops = text_attribute(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize";
  if (!place || crops || !keeps_axis(to, node, *place)) return false;
  if (text_attribute(node, "mode", "nearest") == "nearest") return move_tokens(to, n, *x);
  to.define_output(n, to.mixed(n, x->node, {}), x->axis);
  return true;
}

}  // namespace foldnorm::detail
