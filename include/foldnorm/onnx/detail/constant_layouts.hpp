// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/constant_layouts.hpp -- constants of an ONNX graph as parameters: which of their axes is which.
#pragma once

#include <foldnorm/graph/checks.hpp>
#include <foldnorm/onnx/tensor_values.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace foldnorm::detail {

// A constant as a rule reads it: the tensor behind identities and at most one transposition.
struct OnnxConstant {
  std::string read_as;  // the name that the node reads
  ::onnx::TensorProto const* tensor = nullptr;
  std::string name;
  bool is_transposed = false;
  Index length(int axis) const { return static_cast<Index>(tensor->dims(is_transposed ? 1 - axis : axis)); }
};

// The layout of a constant that has `count` entries along this axis from the end and one along all others.
inline std::optional<OnnxLayout> vector_along(OnnxConstant const& constant, std::int64_t axis, Index count) {
  if (constant.is_transposed) return std::nullopt;
  auto const& dims = constant.tensor->dims();
  Index const place = dims.size() + axis;
  if (place < 0 || *element_count(*constant.tensor) != static_cast<std::uint64_t>(count)) return std::nullopt;
  return dims.Get(static_cast<int>(place)) == count ? std::optional(OnnxLayout{.rows = count}) : std::nullopt;
}
// ... `count` entries along this axis, and any number along others.
inline std::optional<OnnxLayout> tokens_along(OnnxConstant const& constant, std::int64_t axis, Index count) {
  if (constant.is_transposed) return std::nullopt;
  auto const& dims = constant.tensor->dims();
  Index const place = dims.size() + axis;
  if (place < 0 || dims.Get(static_cast<int>(place)) != count) return std::nullopt;
  OnnxLayout layout{.rows = count};
  for (int i = 0; i < dims.size(); ++i) (i < place ? layout.outer : layout.inner) *= i == place ? 1 : dims.Get(i);
  return layout;
}

// The name with what a layer graph's names cannot have replaced, and not longer than a line.
inline std::string legal_word(std::string const& original) {
  std::string result = original.substr(0, 200);
  for (char& c : result) {
    if (!is_word({&c, 1})) c = '_';
  }
  return result.empty() ? "unnamed" : result;
}

}  // namespace foldnorm::detail
