// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/rearranging_rules.hpp -- ONNX operators that move tokens, or the axis of the features, about.
#pragma once

#include <foldnorm/onnx/detail/network_builder.hpp>
#include <foldnorm/onnx/detail/norm_rules.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::detail {

// What a rule here reads: a value of known axes, or a constant's tokens.
inline std::optional<OnnxValue> tokens_of(NetworkBuilder& to, std::string const& name, int n) {
  auto const found = to.value(name);
  if (found) return found->is_known() ? found : std::nullopt;
  return to.as_source(name, n);
}

// The value keeps its features and moves its tokens; the axes of the features are now these.
inline bool move_tokens(NetworkBuilder& to, int n, OnnxValue const& x, std::vector<FeatureAxis> axes) {
  to.define_output(n, to.graph().permute_tokens(to.fresh_name(n), x.node), std::move(axes));
  return true;
}
inline bool move_tokens(NetworkBuilder& to, int n, OnnxValue const& x) { return move_tokens(to, n, x, x.axes); }

inline bool lies_along(OnnxValue const& x, std::int64_t axis) {
  return std::ranges::find(x.axes, axis, &FeatureAxis::axis) != x.axes.end();
}
inline std::int64_t axis_from_end(std::size_t place, std::size_t rank) {
  return static_cast<std::int64_t>(place) - static_cast<std::int64_t>(rank);
}

inline bool add_transpose(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  auto const& shape = to.shapes.of(input_of(node, 0));
  auto const* const perm = find_attribute(node, "perm");
  if (!x || !x->is_known() || !shape.dims || !transposed(*shape.dims, perm)) return false;
  std::size_t const rank = shape.dims->size();
  std::vector<FeatureAxis> axes = x->axes;
  for (FeatureAxis& part : axes) {
    auto const place = shape.axis(part.axis);
    if (!place) return false;
    std::size_t to_place = rank - 1 - *place;
    for (int i = 0; perm && i < perm->ints_size(); ++i) {
      if (perm->ints(i) == static_cast<std::int64_t>(*place)) to_place = static_cast<std::size_t>(i);
    }
    part.axis = axis_from_end(to_place, rank);
  }
  return move_tokens(to, n, *x, std::move(axes));
}

// The axes that the features lie along, as places [begin, end) of the shape: one behind the other, and nothing between
// them. Empty where they are apart, or the shape is not known.
inline std::optional<std::pair<std::size_t, std::size_t>> places_of(OnnxValue const& x, OnnxShape const& shape) {
  auto const first = shape.axis(x.axes.front().axis), last = shape.axis(x.axes.back().axis);
  if (!first || !last || *last < *first) return std::nullopt;
  std::size_t next = 0;  // of the axes
  for (std::size_t i = *first; i <= *last; ++i) {
    bool const is_next = next < x.axes.size() && shape.axis(x.axes[next].axis) == i;
    if (!is_next && !(*shape.dims)[i].is(1)) return std::nullopt;
    if (is_next) ++next;
  }
  return next == x.axes.size() ? std::optional(std::pair(*first, *last + 1)) : std::nullopt;
}

// Where a block of this many elements begins: the axis that is as long, or the axes that it is cut into. Empty if the
// lengths from here on do not come to that.
inline std::optional<std::vector<FeatureAxis>> block_at(Dims const& dims, std::size_t begin, Index count) {
  std::vector<FeatureAxis> axes;
  Index product = 1;
  for (std::size_t i = begin; i < dims.size(); ++i) {
    if (!dims[i].is_known() || dims[i].number() < 1 || dims[i].number() > count / product) return std::nullopt;
    bool const is_long = dims[i].number() > 1 || count == 1;
    if (!is_long && axes.empty()) return std::nullopt;  // begins further back
    if (is_long) axes.push_back({axis_from_end(i, dims.size()), static_cast<Index>(dims[i].number())});
    product *= static_cast<Index>(dims[i].number());
    if (product == count) return axes;
  }
  return std::nullopt;
}

// Reshape, Flatten, Squeeze and Unsqueeze: the order of the elements stays. The features stay together if as many are
// there again, along one axis or cut into several, and all in front of them, or all behind, has the same size as
// before.
inline bool add_reshape(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  if (!x || !x->is_known() || node.output_size() == 0) return false;
  auto const& before = to.shapes.of(node.input(0));
  auto const& after = to.shapes.of(node.output(0)).dims;
  auto const places = places_of(*x, before);
  bool const is_last = x->axis == -1;  // which needs no shape
  if (!after || (!places && !is_last)) return false;
  for (std::size_t i = 0; i < after->size(); ++i) {
    std::size_t const k = after->size() - 1 - i;
    auto axes = block_at(*after, k, to.features(*x));
    if (!axes) continue;
    auto const end = static_cast<std::size_t>(static_cast<std::int64_t>(after->size()) + axes->back().axis) + 1;
    auto const behind = std::span(*after).subspan(end);
    bool stays = is_last && have_same_product(behind, {});
    if (places) {
      std::span<OnnxDim const> const dims = *before.dims;
      stays = stays || have_same_product(dims.subspan(places->second), behind) ||
              have_same_product(dims.first(places->first), std::span(*after).first(k));
    }
    if (stays) return move_tokens(to, n, *x, *std::move(axes));
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

// Features [begin, begin + length) of the first axis that they lie along, which is all that is left of it; an axis of
// one is none that features are cut along.
inline NodeId part_of(NetworkBuilder& to, std::string name, OnnxValue const& x, Index begin, Index length) {
  Index const block = to.features(x) / x.axes.front().length;
  return to.graph().slice_features(std::move(name), x.node, begin * block, length * block);
}
inline std::vector<FeatureAxis> axes_of_part(OnnxValue const& x, Index length) {
  std::vector<FeatureAxis> axes = x.axes;
  axes.front().length = length;
  if (length == 1 && axes.size() > 1) axes.erase(axes.begin());
  return axes;
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
      if (!axis || lies_along(*x, *axis)) return false;
    }
    return move_tokens(to, n, *x);
  }
  std::optional<std::pair<std::int64_t, std::int64_t>> range;
  for (std::size_t i = 0; i < slice->axes.size(); ++i) {
    auto const axis = from_end(slice->axes[i], shape);
    if (!axis) return false;
    if (!lies_along(*x, *axis)) continue;
    if (range || *axis != x->axes.front().axis) return false;
    range = slice->range(i, OnnxDim(x->axes.front().length));
    if (!range || range->first == range->second) return false;
  }
  if (!range) return move_tokens(to, n, *x);
  Index const length = range->second - range->first;
  to.define_output(n, part_of(to, to.fresh_name(n), *x, range->first, length), axes_of_part(*x, length));
  return true;
}

// The lengths of a Split along an axis of this length; empty if they are not known, or do not come to that.
inline std::optional<std::vector<std::int64_t>> split_lengths(NetworkBuilder const& to, int n, Index whole) {
  auto const& node = to.index.node(n);
  auto const sizes = to.constants.attribute_or_input(node, "split", 1);
  auto const parts = static_cast<std::size_t>(node.output_size());
  if (!sizes.given) {
    if (whole % node.output_size() != 0) return std::nullopt;
    return std::vector<std::int64_t>(parts, whole / node.output_size());
  }
  if (!sizes.values || sizes.values->size() != parts) return std::nullopt;
  std::int64_t sum = 0;
  for (std::int64_t const length : *sizes.values) {
    if (length < 1 || length > whole) return std::nullopt;
    sum += length;
  }
  return sum == whole ? sizes.values : std::nullopt;
}

inline bool add_split(NetworkBuilder& to, int n) {
  auto const& node = to.index.node(n);
  auto const x = to.value(input_of(node, 0));
  if (!x || !x->is_known()) return false;
  auto const axis = from_end(integer_attribute(node, "axis", 0), to.shapes.of(node.input(0)));
  if (!axis) return false;
  bool const cuts = lies_along(*x, *axis);
  if (cuts && *axis != x->axes.front().axis) return false;
  auto const lengths = cuts ? split_lengths(to, n, x->axes.front().length) : std::nullopt;
  if (cuts && !lengths) return false;
  Index begin = 0;
  for (int k = 0; k < node.output_size(); ++k) {
    Index const length = cuts ? (*lengths)[static_cast<std::size_t>(k)] : 0;
    if (!node.output(k).empty()) {
      std::string const name = to.fresh_name(node.output(k));
      NodeId const part = cuts ? part_of(to, name, *x, begin, length) : to.graph().permute_tokens(name, x->node);
      to.define(node.output(k), part, cuts ? axes_of_part(*x, length) : x->axes, n);
    }
    begin += length;
  }
  return true;
}

}  // namespace foldnorm::detail
