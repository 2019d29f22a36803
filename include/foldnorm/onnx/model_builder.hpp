// SPDX-License-Identifier: MIT
// foldnorm/onnx/model_builder.hpp -- an ONNX model as it is put together: nodes, initializers, inputs and outputs.
//
// Names are the caller's: the builder checks none of them.
#pragma once

#include <foldnorm/core/config.hpp>

#include <onnx/onnx_pb.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace foldnorm::detail {

static_assert(std::endian::native == std::endian::little, "an ONNX tensor's raw_data are little-endian");

using OnnxSizes = std::vector<std::int64_t>;

struct OnnxAttribute {
  std::string_view name;
  std::variant<std::int64_t, float, OnnxSizes> value;
};

class OnnxModelBuilder {
 public:
  OnnxModelBuilder() {
    model_.set_ir_version(8);
    model_.set_producer_name("foldnorm");
    onnx::OperatorSetIdProto& operators = *model_.add_opset_import();
    operators.set_domain("");
    operators.set_version(17);  // the first that has LayerNormalization
    model_.mutable_graph()->set_name("foldnorm");
  }

  // A node of one output, which is also the node's name.
  void add_node(std::string_view operation, std::span<std::string const> inputs, std::string const& output,
                std::span<OnnxAttribute const> attributes) {
    onnx::NodeProto& node = *model_.mutable_graph()->add_node();
    node.set_name(output);
    node.set_op_type(std::string(operation));
    for (std::string const& input : inputs) node.add_input(input);
    node.add_output(output);
    for (OnnxAttribute const& attribute : attributes) set_attribute(*node.add_attribute(), attribute);
  }
  // Gives the node that came last, and its output, another name. Precondition: nobody reads it yet.
  void rename_last_node(std::string const& name) {
    onnx::NodeProto& node = *model_.mutable_graph()->mutable_node()->rbegin();
    node.set_name(name);
    node.set_output(0, name);
  }

  void add_initializer(std::string const& name, OnnxSizes const& shape, std::span<float const> values) {
    add_tensor(name, shape, onnx::TensorProto::FLOAT, std::as_bytes(values));
  }
  void add_initializer(std::string const& name, OnnxSizes const& shape, std::span<std::int64_t const> values) {
    add_tensor(name, shape, onnx::TensorProto::INT64, std::as_bytes(values));
  }

  // A size of -1 is any, and called NAME:tokens.
  void add_input(std::string const& name, onnx::TensorProto::DataType type, OnnxSizes const& shape) {
    describe(*model_.mutable_graph()->add_input(), name, type, shape);
  }
  void add_output(std::string const& name, onnx::TensorProto::DataType type, OnnxSizes const& shape) {
    describe(*model_.mutable_graph()->add_output(), name, type, shape);
  }

  onnx::ModelProto take() && { return std::move(model_); }

 private:
  static void set_attribute(onnx::AttributeProto& attribute, OnnxAttribute const& given) {
    attribute.set_name(std::string(given.name));
    if (auto const* const integer = std::get_if<std::int64_t>(&given.value)) {
      attribute.set_type(onnx::AttributeProto::INT);
      attribute.set_i(*integer);
    } else if (auto const* const real = std::get_if<float>(&given.value)) {
      attribute.set_type(onnx::AttributeProto::FLOAT);
      attribute.set_f(*real);
    } else {
      attribute.set_type(onnx::AttributeProto::INTS);
      for (std::int64_t const value : std::get<OnnxSizes>(given.value)) attribute.add_ints(value);
    }
  }

  void add_tensor(std::string const& name, OnnxSizes const& shape, onnx::TensorProto::DataType type,
                  std::span<std::byte const> bytes) {
    onnx::TensorProto& tensor = *model_.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(type);
    for (std::int64_t const size : shape) tensor.add_dims(size);
    tensor.set_raw_data(bytes.data(), bytes.size());
  }

  static void describe(onnx::ValueInfoProto& value, std::string const& name, onnx::TensorProto::DataType type,
                       OnnxSizes const& shape) {
    value.set_name(name);
    onnx::TypeProto_Tensor& tensor = *value.mutable_type()->mutable_tensor_type();
    tensor.set_elem_type(type);
    for (std::int64_t const size : shape) {
      onnx::TensorShapeProto_Dimension& dimension = *tensor.mutable_shape()->add_dim();
      if (size < 0) {
        dimension.set_dim_param(name + ":tokens");
      } else {
        dimension.set_dim_value(size);
      }
    }
  }

  onnx::ModelProto model_;
};

}  // namespace foldnorm::detail
