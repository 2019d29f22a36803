// SPDX-License-Identifier: MIT
// foldnorm/onnx/shape.hpp -- what can be known of an ONNX value without running the model.
#pragma once

#include <foldnorm/core/config.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// A length, or an entry of a value that says lengths: a number, or a symbol for one that only a run tells. Equal
// symbols are equal numbers.
class OnnxDim {
 public:
  OnnxDim(std::int64_t number = 0) : number_(number) {}  // NOLINT: a number is a dimension
  static OnnxDim symbol(std::int64_t id) {
    OnnxDim result;
    result.symbol_ = id;
    return result;
  }
  bool is_known() const { return symbol_ == 0; }
  bool is(std::int64_t number) const { return is_known() && number_ == number; }
  std::int64_t number() const { return number_; }
  auto operator<=>(OnnxDim const&) const = default;

 private:
  std::int64_t number_ = 0;
  std::int64_t symbol_ = 0;  // from 1 on
};

struct OnnxShape {
  static constexpr std::size_t most_axes = 16;
  static constexpr std::size_t most_contents = 4 * most_axes;  // that are computed

  std::optional<std::vector<OnnxDim>> dims;      // empty: not even the rank is known
  std::optional<std::vector<OnnxDim>> contents;  // of a small integer scalar or vector
  std::int32_t type = 0;                         // TensorProto's data type; 0: not known
  bool is_static = false;  // the same in every run but for the shapes of inputs: values of activations play no part

  std::optional<std::size_t> rank() const { return dims ? std::optional(dims->size()) : std::nullopt; }
  // The axis as counted from the front, where it is one.
  std::optional<std::size_t> axis(std::int64_t axis) const {
    if (!dims) return std::nullopt;
    auto const count = static_cast<std::int64_t>(dims->size());
    if (axis < -count || axis >= count) return std::nullopt;
    return static_cast<std::size_t>(axis < 0 ? axis + count : axis);
  }
};

namespace detail {

// Do two lists of lengths have the same product, whatever the symbols stand for?
inline bool have_same_product(std::span<OnnxDim const> a, std::span<OnnxDim const> b) {
  auto const reduced = [](std::span<OnnxDim const> dims) {
    std::vector<OnnxDim> symbols;
    double product = 1;  // exact below 2^53, and beyond that no tensor
    for (OnnxDim const dim : dims) {
      if (dim.is_known()) product *= static_cast<double>(dim.number());
      if (!dim.is_known()) symbols.push_back(dim);
    }
    std::ranges::sort(symbols);
    return std::pair(product, symbols);
  };
  auto const first = reduced(a), second = reduced(b);
  return first == second && first.first > 0 && first.first < 0x1p53;
}

class SymbolSource {
 public:
  OnnxDim next() { return OnnxDim::symbol(++used_); }

 private:
  std::int64_t used_ = 0;
};

// Of two values that are combined element by element; axes are aligned at the end.
inline std::vector<OnnxDim> broadcast(std::vector<OnnxDim> a, std::vector<OnnxDim> b, SymbolSource& symbols) {
  if (a.size() < b.size()) std::swap(a, b);
  for (std::size_t i = 1; i <= b.size(); ++i) {
    OnnxDim& x = a[a.size() - i];
    OnnxDim const y = b[b.size() - i];
    if (x == y || y.is(1)) continue;
    if (x.is(1) || y.is_known()) {
      x = y;
    } else if (!x.is_known()) {
      x = symbols.next();
    }
  }
  return a;
}

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
