// SPDX-License-Identifier: MIT
// foldnorm/onnx/infer_shapes.hpp -- shapes, and the small integers that shapes are made of, through an ONNX graph.
//
// Only what the search for feature axes needs: an operator that no rule is for, or that breaks its own rules, makes
// values of unknown shape (or of the shape that the model's value_info claims).
#pragma once

#include <foldnorm/onnx/constants.hpp>
#include <foldnorm/onnx/detail/integer_contents.hpp>
#include <foldnorm/onnx/detail/shape_rules.hpp>
#include <foldnorm/onnx/model_index.hpp>
#include <foldnorm/onnx/shape.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

class OnnxShapes {
 public:
  // One pass over the nodes; each costs its inputs and at most OnnxShape::most_axes, or most_contents where integers
  // are computed.
  OnnxShapes(OnnxFile const& file, OnnxIndex const& index)
      : constants_(file, index), index_(index), rules_(constants_, shapes_) {
    for (::onnx::GraphProto const* const graph : index.graphs()) {
      for (auto const& info : graph->value_info()) declared_[info.name()] = of_type(info.type());
      for (auto const& output : graph->output()) declared_.emplace(output.name(), of_type(output.type()));
      for (auto const& tensor : graph->initializer()) set_constant(tensor.name(), tensor);
    }
    for (::onnx::GraphProto const* const graph : index.graphs()) {
      for (auto const& input : graph->input()) {
        if (!index.constant(input.name())) shapes_[input.name()] = of_type(input.type());
      }
    }
    for (int n = 0; n < index.size(); ++n) infer(n);
  }
  OnnxShapes(OnnxShapes const&) = delete;  // its parts refer to each other
  OnnxShapes& operator=(OnnxShapes const&) = delete;

  // Of any value that the index knows.
  OnnxShape const& of(std::string const& value) const { return shapes_.of(value); }

 private:
  using Dims = detail::ShapeRules::Dims;
  using MaybeDims = detail::ShapeRules::MaybeDims;

  void set_constant(std::string const& value, ::onnx::TensorProto const& tensor) {
    OnnxShape& shape = shapes_[value];
    if (element_count(tensor)) shape.dims = Dims(tensor.dims().begin(), tensor.dims().end());
    limit(shape);
    shape.type = tensor.data_type();
    shape.is_static = true;
    if (auto const integers = constants_.integers(value)) shape.contents = Dims(integers->begin(), integers->end());
  }
  static void limit(OnnxShape& shape) {
    if (shape.dims && shape.dims->size() > OnnxShape::most_axes) shape.dims.reset();
  }
  OnnxShape of_type(::onnx::TypeProto const& type) {
    OnnxShape shape;
    if (!type.has_tensor_type()) return shape;
    shape.type = type.tensor_type().elem_type();
    if (!type.tensor_type().has_shape()) return shape;
    Dims dims;
    for (auto const& dim : type.tensor_type().shape().dim()) {
      dims.push_back(dim.has_dim_value() && dim.dim_value() >= 0 ? OnnxDim(dim.dim_value()) : rules_.new_length());
    }
    shape.dims = std::move(dims);
    limit(shape);
    return shape;
  }

  void infer(int n) {
    ::onnx::NodeProto const& node = index_.node(n);
    std::string_view const op = node.op_type();
    bool const is_standard = index_.is_standard(node);
    if (is_standard && op == "Constant" && node.output_size() == 1) {
      if (auto const* const tensor = index_.constant(node.output(0))) return set_constant(node.output(0), *tensor);
    }
    bool is_static = is_standard && !op.starts_with("Random") && op != "Bernoulli" && op != "Multinomial" &&
                     !detail::has_graphs(node);
    for (auto const& input : node.input()) is_static = is_static && (input.empty() || of(input).is_static);
    is_static = is_static || (is_standard && (op == "Shape" || op == "Size"));
    for (int k = 0; k < node.output_size(); ++k) {
      if (node.output(k).empty()) continue;
      OnnxShape shape;
      if (is_standard) {
        shape.dims = op == "If" ? chosen(n, k) : rules_.dims_of(node, op, k);
        limit(shape);
        shape.type = type_of(node, op, k);
        if (is_static && k == 0) {
          auto const shape_of = [this](std::string const& value) -> OnnxShape const& { return of(value); };
          shape.contents = detail::integer_contents(node, shape_of, constants_);
          if (shape.contents && shape.contents->size() > OnnxShape::most_contents) shape.contents.reset();
        }
      }
      auto const declared = declared_.find(node.output(k));
      if (declared != declared_.end()) {
        if (!shape.dims) shape.dims = declared->second.dims;
        if (shape.type == 0) shape.type = declared->second.type;
      }
      shape.is_static = is_static;
      shapes_[node.output(k)] = std::move(shape);
    }
  }

  std::int32_t type_of(::onnx::NodeProto const& node, std::string_view op, int k) const {
    if (op == "Cast") return static_cast<std::int32_t>(integer_attribute(node, "to", 0));
    if (op == "Shape" || op == "Size") return ::onnx::TensorProto::INT64;
    if (op == "Where") return of(input_of(node, 1)).type;
    static std::unordered_set<std::string_view> const others{
        "ArgMax", "ArgMin",  "Equal",           "Greater", "Less",    "GreaterOrEqual", "LessOrEqual",
        "IsNaN",  "NonZero", "ConstantOfShape", "TopK",    "EyeLike", "OneHot",         "If"};
    if (k > 0 || others.contains(op) || node.input_size() == 0) return 0;
    return of(node.input(0)).type;
  }

  // Of a value that one of two branches makes.
  MaybeDims chosen(int n, int k) {
    auto const branches = index_.inner_graphs(n);
    if (branches.size() != 2) return std::nullopt;
    MaybeDims a = of(branches[0]->output(k).name()).dims;
    MaybeDims const& b = of(branches[1]->output(k).name()).dims;
    if (!a || !b || a->size() != b->size()) return std::nullopt;
    for (std::size_t i = 0; i < a->size(); ++i) {
      if ((*a)[i] != (*b)[i]) (*a)[i] = rules_.new_length();
    }
    return a;
  }

  OnnxConstants constants_;
  OnnxIndex const& index_;
  detail::ShapeTable shapes_;
  detail::ShapeRules rules_;
  std::unordered_map<std::string, OnnxShape> declared_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
