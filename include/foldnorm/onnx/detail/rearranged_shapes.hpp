// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/rearranged_shapes.hpp -- shapes of values whose elements only change their places.
#pragma once

#include <foldnorm/onnx/constants.hpp>
#include <foldnorm/onnx/shape.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ranges>
#include <utility>
#include <vector>

namespace foldnorm::detail {

using Dims = std::vector<OnnxDim>;

// What a Slice takes along each of its axes, in steps of one.
struct OnnxSlice {
  std::vector<std::int64_t> axes, starts, ends;

  // Along its i-th axis, of this length: [begin, end); empty if that is only known in a run.
  std::optional<std::pair<std::int64_t, std::int64_t>> range(std::size_t i, OnnxDim length) const {
    auto const place = [&](std::int64_t at) -> std::optional<std::int64_t> {
      if (!length.is_known()) return std::nullopt;
      return std::clamp<std::int64_t>(at < 0 ? at + length.number() : at, 0, length.number());
    };
    auto const begin = place(starts[i]), end = place(ends[i]);
    if (!begin || !end) return std::nullopt;
    return std::pair(*begin, std::max(*begin, *end));
  }
};

inline std::optional<OnnxSlice> find_slice(::onnx::NodeProto const& node, OnnxConstants const& constants) {
  auto const starts = constants.attribute_or_input(node, "starts", 1);
  auto const ends = constants.attribute_or_input(node, "ends", 2);
  auto const axes = constants.attribute_or_input(node, "axes", 3);
  auto const steps = constants.attribute_or_input(node, "steps", 4);
  if (!starts.values || !ends.values || starts.values->size() != ends.values->size()) return std::nullopt;
  if ((axes.given && !axes.values) || (steps.given && !steps.values)) return std::nullopt;
  OnnxSlice slice{{}, *starts.values, *ends.values};
  for (std::size_t i = 0; i < slice.starts.size(); ++i) slice.axes.push_back(static_cast<std::int64_t>(i));
  if (axes.given) slice.axes = *axes.values;
  bool const has_steps = steps.given && std::ranges::any_of(*steps.values, [](auto step) { return step != 1; });
  if (slice.axes.size() != slice.starts.size() || has_steps) return std::nullopt;
  return slice;
}

// `perm` may be null: then the axes are reversed.
inline std::optional<Dims> transposed(Dims const& x, ::onnx::AttributeProto const* perm) {
  if (!perm) return Dims(x.rbegin(), x.rend());
  if (static_cast<std::size_t>(perm->ints_size()) != x.size()) return std::nullopt;
  Dims result;
  std::vector<bool> taken(x.size(), false);
  for (auto const axis : perm->ints()) {
    if (axis < 0 || static_cast<std::size_t>(axis) >= x.size() || taken[static_cast<std::size_t>(axis)]) {
      return std::nullopt;
    }
    taken[static_cast<std::size_t>(axis)] = true;
    result.push_back(x[static_cast<std::size_t>(axis)]);
  }
  return result;
}

// The product of the one by that of the other, where it is a number or a symbol.
inline OnnxDim quotient(Dims x, Dims y, SymbolSource& symbols) {
  for (auto dim = y.begin(); dim != y.end();) {
    auto const same = dim->is_known() ? x.end() : std::ranges::find(x, *dim);
    if (same == x.end()) {
      ++dim;
      continue;
    }
    x.erase(same);
    dim = y.erase(dim);
  }
  std::erase(x, OnnxDim(1));
  std::erase(y, OnnxDim(1));
  if (x.size() == 1 && y.empty()) return x[0];
  std::int64_t above = 1, below = 1;
  for (OnnxDim const dim : x) {
    if (!dim.is_known() || __builtin_mul_overflow(above, dim.number(), &above)) return symbols.next();
  }
  for (OnnxDim const dim : y) {
    if (!dim.is_known() || __builtin_mul_overflow(below, dim.number(), &below)) return symbols.next();
  }
  return below > 0 && above % below == 0 ? OnnxDim(above / below) : symbols.next();
}

// `target` as Reshape takes it: 0 is a copy (if `zero_copies`), one -1 what is left.
inline std::optional<Dims> reshaped(std::optional<Dims> const& x, Dims target, bool zero_copies,
                                    SymbolSource& symbols) {
  std::optional<std::size_t> rest;
  for (std::size_t i = 0; i < target.size(); ++i) {
    OnnxDim& dim = target[i];
    if (dim.is(0) && zero_copies) dim = x && i < x->size() ? (*x)[i] : symbols.next();
    if (!dim.is_known() || dim.number() >= 0) continue;
    if (rest) return std::nullopt;
    rest = i;
    dim = 1;
  }
  if (rest) target[*rest] = x ? quotient(*x, target, symbols) : symbols.next();
  return target;
}

inline std::optional<Dims> without_ones(Dims x) {
  for (OnnxDim const dim : x) {
    if (!dim.is_known()) return std::nullopt;  // which of them are 1 is not known
  }
  std::erase(x, OnnxDim(1));
  return x;
}

// The axes, counted in the longer of the two shapes, are put in or taken out.
inline std::optional<Dims> with_ones(Dims const& x, std::vector<std::int64_t> const& axes, bool inserts) {
  if (axes.size() > OnnxShape::most_axes) return std::nullopt;
  std::size_t const rank = x.size() + (inserts ? axes.size() : 0);
  std::vector<bool> is_named(rank, false);
  for (std::int64_t axis : axes) {
    if (axis < 0) axis += static_cast<std::int64_t>(rank);
    bool const is_axis = axis >= 0 && axis < static_cast<std::int64_t>(rank);
    if (!is_axis || is_named[static_cast<std::size_t>(axis)]) return std::nullopt;
    is_named[static_cast<std::size_t>(axis)] = true;
  }
  Dims result;
  auto next = x.begin();
  for (std::size_t i = 0; i < rank; ++i) {
    if (is_named[i] && inserts) {
      result.emplace_back(1);
    } else if (is_named[i]) {
      ++next;
    } else {
      result.push_back(*next++);
    }
  }
  return result;
}

inline std::optional<Dims> sliced(OnnxShape const& x, OnnxSlice const& slice, SymbolSource& symbols) {
  Dims result = *x.dims;
  for (std::size_t i = 0; i < slice.axes.size(); ++i) {
    auto const axis = x.axis(slice.axes[i]);
    if (!axis) return std::nullopt;
    auto const range = slice.range(i, result[*axis]);
    result[*axis] = range ? OnnxDim(range->second - range->first) : symbols.next();
  }
  return result;
}

// What a Pad adds along each of its axes: in front of all, then behind all. An attribute, or from opset 11 on an input.
inline std::optional<Dims> paddings(::onnx::NodeProto const& node, OnnxShape const& input) {
  auto const* const attribute = find_attribute(node, "pads");
  return attribute ? Dims(attribute->ints().begin(), attribute->ints().end()) : input.contents;
}
inline Dims padded(Dims x, Dims const& pads, SymbolSource& symbols) {
  std::size_t const count = x.size();
  for (std::size_t i = 0; i < count; ++i) {
    OnnxDim const before = pads[i], behind = pads[count + i];
    if (before.is(0) && behind.is(0)) continue;
    constexpr std::int64_t most = std::int64_t{1} << 60;
    bool is_known = true;
    for (OnnxDim const dim : {x[i], before, behind}) {
      is_known = is_known && dim.is_known() && dim.number() < most && dim.number() > -most;
    }
    x[i] = is_known ? OnnxDim(x[i].number() + before.number() + behind.number()) : symbols.next();
  }
  return x;
}

// The axis becomes those of the indices.
inline Dims gathered(Dims x, std::size_t axis, Dims const& indices) {
  auto const place = x.erase(x.begin() + static_cast<std::ptrdiff_t>(axis));
  x.insert(place, indices.begin(), indices.end());
  return x;
}

// The axes become ones, or go.
inline std::optional<Dims> reduced(OnnxShape const& x, std::vector<std::int64_t> const& axes, bool keeps) {
  std::vector<bool> is_named(x.dims->size(), false);
  for (std::int64_t const named : axes) {
    auto const axis = x.axis(named);
    if (!axis) return std::nullopt;
    is_named[*axis] = true;
  }
  Dims result;
  for (std::size_t i = 0; i < is_named.size(); ++i) {
    if (!is_named[i]) result.push_back((*x.dims)[i]);
    if (is_named[i] && keeps) result.emplace_back(1);
  }
  return result;
}

}  // namespace foldnorm::detail
