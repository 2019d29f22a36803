// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/integer_contents.hpp -- the integers of an ONNX value that lengths are computed by.
#pragma once

#include <foldnorm/onnx/constants.hpp>
#include <foldnorm/onnx/detail/rearranged_shapes.hpp>
#include <foldnorm/onnx/shape.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace foldnorm::detail {

using ShapeOf = std::function<OnnxShape const&(std::string const&)>;

// The entries that these places name; empty if one is none.
inline std::optional<Dims> entries_at(Dims const& x, std::vector<std::int64_t> const& places) {
  Dims result;
  for (std::int64_t place : places) {
    if (place < 0) place += static_cast<std::int64_t>(x.size());
    if (place < 0 || place >= static_cast<std::int64_t>(x.size())) return std::nullopt;
    result.push_back(x[static_cast<std::size_t>(place)]);
  }
  return result;
}

// What a node makes of shapes and of integers that are known, as far as they are. A scalar is a list of one.
inline std::optional<Dims> integer_contents(::onnx::NodeProto const& node, ShapeOf const& shape_of,
                                            OnnxConstants const& constants) {
  if (node.input_size() == 0) return std::nullopt;
  std::string const& op = node.op_type();
  OnnxShape const& first = shape_of(node.input(0));
  if (op == "Shape") {
    bool const is_part = find_attribute(node, "start") || find_attribute(node, "end");
    return is_part ? std::nullopt : first.dims;
  }
  if (!first.contents) return std::nullopt;
  Dims const& x = *first.contents;
  if (op == "Identity" || op == "Unsqueeze" || op == "Squeeze") return x;
  if (op == "Cast") {
    std::int64_t const to = integer_attribute(node, "to", 0);
    bool const is_integer = to == ::onnx::TensorProto::INT64 || to == ::onnx::TensorProto::INT32;
    return is_integer ? std::optional(x) : std::nullopt;
  }
  if (op == "Gather") {
    auto const places = constants.integers(input_of(node, 1));
    return places && integer_attribute(node, "axis", 0) == 0 ? entries_at(x, *places) : std::nullopt;
  }
  if (op == "Slice") {
    auto const slice = find_slice(node, constants);
    if (!slice || slice->axes.size() != 1 || slice->axes[0] != 0) return std::nullopt;
    auto const range = slice->range(0, OnnxDim(static_cast<std::int64_t>(x.size())));
    return Dims(x.begin() + range->first, x.begin() + range->second);
  }
  if (op == "Concat") {
    Dims result;
    for (auto const& input : node.input()) {
      auto const& part = shape_of(input).contents;
      if (!part || result.size() + part->size() > OnnxShape::most_contents) return std::nullopt;
      result.insert(result.end(), part->begin(), part->end());
    }
    return result;
  }
  return std::nullopt;
}

}  // namespace foldnorm::detail
