// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/shape_rules.hpp -- the shape of what an ONNX operator makes, from those of what it reads.
#pragma once

#include <foldnorm/onnx/constants.hpp>
#include <foldnorm/onnx/detail/einsum_terms.hpp>
#include <foldnorm/onnx/detail/elementwise_operators.hpp>
#include <foldnorm/onnx/detail/rearranged_shapes.hpp>
#include <foldnorm/onnx/node.hpp>
#include <foldnorm/onnx/shape.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace foldnorm::detail {

// Values' shapes by name; of others nothing is known.
class ShapeTable {
 public:
  OnnxShape const& of(std::string const& value) const {
    static OnnxShape const unknown;
    auto const found = shapes_.find(value);
    return found == shapes_.end() ? unknown : found->second;
  }
  OnnxShape& operator[](std::string const& value) { return shapes_[value]; }

 private:
  std::unordered_map<std::string, OnnxShape> shapes_;
};

class ShapeRules {
 public:
  using Dims = std::vector<OnnxDim>;
  using MaybeDims = std::optional<Dims>;

  // Neither is owned.
  ShapeRules(OnnxConstants const& constants, ShapeTable const& shapes) : constants_(constants), shapes_(shapes) {}

  OnnxDim new_length() { return symbols_.next(); }  // of which nothing is known

  // Of the k-th output of one of ONNX's own operators, or nothing.
  MaybeDims dims_of(::onnx::NodeProto const& node, std::string_view op, int k) {
    if (node.input_size() == 0) return std::nullopt;
    MaybeDims const& x = dims(node, 0);
    if (op == "Split" && x) return split(node, of(node.input(0)), k);
    if (k > 0) return std::nullopt;
    if (keeps_shape(op)) return x;
    if (broadcasts(op)) return combined(node);
    if (op == "MatMul") return product(x, dims(node, 1));
    if (op == "Einsum") {
      auto const terms = einsum_terms(node);
      return terms ? einsum_dims(*terms, of(node.input(0)), of(node.input(1))) : std::nullopt;
    }
    if (op == "Shape") return x ? MaybeDims(Dims{static_cast<std::int64_t>(x->size())}) : Dims{symbols_.next()};
    if (op == "Expand") return expanded(x, of(input_of(node, 1)).contents);
    if (!x) return op == "Reshape" ? reshaped(node, std::nullopt) : std::nullopt;
    if (op == "Gemm") return gemm(node, *x);
    if (op == "Conv" || op == "ConvTranspose") return convolved(node, op == "Conv", *x);
    if (op == "MaxPool" || op == "AveragePool" || op == "LpPool") return pooled(*x, false);
    if (op == "GlobalAveragePool" || op == "GlobalMaxPool") return pooled(*x, true);
    if (op == "Transpose") return transposed(*x, find_attribute(node, "perm"));
    if (op == "Reshape") return reshaped(node, x);
    if (op == "Flatten") return flattened(node, of(node.input(0)));
    if (op == "Squeeze" || op == "Unsqueeze") return with_ones(node, *x, op == "Unsqueeze");
    if (op == "Concat") return concatenated(node, *x);
    if (op == "Slice") return sliced(node, of(node.input(0)));
    if (op == "Gather") return gathered(node, of(node.input(0)), dims(node, 1));
    if (op.starts_with("Reduce")) return reduced(node, of(node.input(0)));
    if (op == "Pad") return padded(node, *x);
    if (op == "Resize" || op == "Upsample") return resized(node, *x);
    if (op == "Tile") return renewed(*x);
    return std::nullopt;
  }

 private:
  OnnxShape const& of(std::string const& value) const { return shapes_.of(value); }
  MaybeDims const& dims(::onnx::NodeProto const& node, int i) const { return of(input_of(node, i)).dims; }

  Dims renewed(Dims x) {
    for (OnnxDim& dim : x) dim = symbols_.next();
    return x;
  }
  Dims padded(::onnx::NodeProto const& node, Dims const& x) {
    auto const pads = paddings(node, of(input_of(node, 1)));
    bool const is_for_all = pads && pads->size() == 2 * x.size() && input_of(node, 3).empty();
    return is_for_all ? detail::padded(x, *pads, symbols_) : renewed(x);
  }
  // By sizes, or by factors, if those are whole: with others it depends on roundings.
  Dims resized(::onnx::NodeProto const& node, Dims const& x) {
    bool const keeps_ratio = text_attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch";
    if (keeps_ratio || find_attribute(node, "axes")) return renewed(x);
    auto const& sizes = of(input_of(node, 3)).contents;
    if (sizes && sizes->size() == x.size()) return *sizes;
    Dims result = renewed(x);
    for (int const input : {1, 2}) {
      auto const factors = constants_.numbers(input_of(node, input));
      if (!factors || factors->size() != static_cast<Index>(x.size())) continue;
      for (std::size_t i = 0; i < x.size(); ++i) {
        double const factor = (*factors)[static_cast<Index>(i)];
        if (factor == 1) result[i] = x[i];
        bool const is_whole = factor >= 1 && factor <= 1024 && factor == std::floor(factor);
        bool const is_small = x[i].is_known() && x[i].number() < std::int64_t{1} << 40;
        if (is_whole && is_small) result[i] = x[i].number() * static_cast<std::int64_t>(factor);
      }
    }
    return result;
  }
  MaybeDims combined(::onnx::NodeProto const& node) {
    MaybeDims result = dims(node, 0);
    for (int i = 1; i < node.input_size() && result; ++i) {
      MaybeDims const& next = dims(node, i);
      if (!next) return std::nullopt;
      result = broadcast(*std::move(result), *next, symbols_);
    }
    return result;
  }
  MaybeDims product(MaybeDims const& a, MaybeDims const& b) {
    if (!a || !b || a->size() < 2 || b->size() < 2) return std::nullopt;
    Dims result = broadcast(Dims(a->begin(), a->end() - 2), Dims(b->begin(), b->end() - 2), symbols_);
    result.push_back((*a)[a->size() - 2]);
    result.push_back(b->back());
    return result;
  }
  MaybeDims gemm(::onnx::NodeProto const& node, Dims const& a) const {
    MaybeDims const& b = dims(node, 1);
    if (!b || b->size() != 2 || a.size() != 2) return std::nullopt;
    bool const is_a_transposed = integer_attribute(node, "transA", 0) != 0;
    bool const is_b_transposed = integer_attribute(node, "transB", 0) != 0;
    return Dims{a[is_a_transposed ? 1 : 0], (*b)[is_b_transposed ? 0 : 1]};
  }
  MaybeDims convolved(::onnx::NodeProto const& node, bool out_is_first, Dims const& x) {
    MaybeDims const& weight = dims(node, 1);
    if (!weight || weight->size() != x.size() || x.size() < 3) return std::nullopt;
    Dims result = renewed(x);
    result[0] = x[0];
    OnnxDim const length = (*weight)[out_is_first ? 0 : 1];
    std::int64_t const groups = integer_attribute(node, "group", 1);
    std::int64_t all = 0;
    bool const is_known = length.is_known() && !__builtin_mul_overflow(length.number(), groups, &all);
    if (out_is_first || groups == 1) {
      result[1] = length;
    } else if (is_known) {
      result[1] = all;
    }
    return result;
  }
  MaybeDims pooled(Dims const& x, bool is_global) {
    if (x.size() < 3) return std::nullopt;
    Dims result = is_global ? Dims(x.size(), OnnxDim(1)) : renewed(x);
    std::copy_n(x.begin(), 2, result.begin());
    return result;
  }
  MaybeDims with_ones(::onnx::NodeProto const& node, Dims const& x, bool inserts) const {
    auto const axes = constants_.attribute_or_input(node, "axes", 1);
    if (!axes.given && !inserts) return without_ones(x);
    return axes.values ? detail::with_ones(x, *axes.values, inserts) : std::nullopt;
  }
  MaybeDims reshaped(::onnx::NodeProto const& node, MaybeDims const& x) {
    MaybeDims target = of(input_of(node, 1)).contents;
    if (auto const* const attribute = find_attribute(node, "shape")) {  // opset 1
      target = Dims(attribute->ints().begin(), attribute->ints().end());
    }
    if (!target) return std::nullopt;
    return detail::reshaped(x, *std::move(target), integer_attribute(node, "allowzero", 0) == 0, symbols_);
  }
  MaybeDims flattened(::onnx::NodeProto const& node, OnnxShape const& x) {
    std::int64_t const axis = integer_attribute(node, "axis", 1);
    auto const cut = axis == static_cast<std::int64_t>(x.dims->size()) ? x.rank() : x.axis(axis);
    if (!cut) return std::nullopt;
    auto const middle = x.dims->begin() + static_cast<std::ptrdiff_t>(*cut);
    return Dims{quotient(Dims(x.dims->begin(), middle), {}, symbols_),
                quotient(Dims(middle, x.dims->end()), {}, symbols_)};
  }
  MaybeDims concatenated(::onnx::NodeProto const& node, Dims const& x) {
    auto const axis = of(node.input(0)).axis(integer_attribute(node, "axis", 1));
    if (!axis) return std::nullopt;
    Dims result = x;
    for (int i = 1; i < node.input_size(); ++i) {
      MaybeDims const& next = dims(node, i);
      if (!next || next->size() != x.size()) return std::nullopt;
      OnnxDim const a = result[*axis], b = (*next)[*axis];
      std::int64_t sum = 0;
      bool const is_known = a.is_known() && b.is_known() && !__builtin_add_overflow(a.number(), b.number(), &sum);
      result[*axis] = is_known ? OnnxDim(sum) : symbols_.next();
    }
    return result;
  }
  MaybeDims sliced(::onnx::NodeProto const& node, OnnxShape const& x) {
    auto const slice = find_slice(node, constants_);
    if (!slice) return std::nullopt;
    return detail::sliced(x, *slice, symbols_);
  }
  MaybeDims split(::onnx::NodeProto const& node, OnnxShape const& x, int k) {
    auto const axis = x.axis(integer_attribute(node, "axis", 0));
    if (!axis) return std::nullopt;
    Dims result = *x.dims;
    OnnxDim& length = result[*axis];
    auto const parts = static_cast<std::int64_t>(node.output_size());
    auto const sizes = constants_.attribute_or_input(node, "split", 1);
    bool const says = sizes.values && sizes.values->size() == static_cast<std::size_t>(parts);
    bool const is_even = !sizes.given && length.is_known() && length.number() % parts == 0;
    length = says      ? OnnxDim((*sizes.values)[static_cast<std::size_t>(k)])
             : is_even ? OnnxDim(length.number() / parts)
                       : symbols_.next();
    return result;
  }
  MaybeDims gathered(::onnx::NodeProto const& node, OnnxShape const& x, MaybeDims const& indices) const {
    auto const axis = x.axis(integer_attribute(node, "axis", 0));
    return axis && indices ? MaybeDims(detail::gathered(*x.dims, *axis, *indices)) : std::nullopt;
  }
  MaybeDims reduced(::onnx::NodeProto const& node, OnnxShape const& x) const {
    bool const keeps = integer_attribute(node, "keepdims", 1) != 0;
    auto const axes = constants_.attribute_or_input(node, "axes", 1);
    if (axes.given && !axes.values) return std::nullopt;
    bool const is_all = !axes.given || axes.values->empty();
    if (is_all && integer_attribute(node, "noop_with_empty_axes", 0) != 0) return x.dims;
    if (is_all) return keeps ? MaybeDims(Dims(x.dims->size(), OnnxDim(1))) : std::nullopt;
    return detail::reduced(x, *axes.values, keeps);
  }
  MaybeDims expanded(MaybeDims const& x, MaybeDims const& target) {
    if (!x || !target) return std::nullopt;
    return broadcast(*x, *target, symbols_);
  }

  OnnxConstants const& constants_;
  ShapeTable const& shapes_;
  SymbolSource symbols_;
};

}  // namespace foldnorm::detail
