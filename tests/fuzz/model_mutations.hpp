// SPDX-License-Identifier: MIT
// tests/fuzz/model_mutations.hpp -- ONNX models with one thing changed: still protocol buffers, seldom still right.
#pragma once

#include <onnx/onnx_pb.h>

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "graph/random_graph.hpp"

namespace fuzz {

class ModelMutation {
 public:
  ModelMutation(::onnx::ModelProto& model, Random& random)
      : model_(model), graph_(*model.mutable_graph()), random_(random) {
    for (auto const& input : graph_.input()) names_.push_back(input.name());
    for (auto const& tensor : graph_.initializer()) names_.push_back(tensor.name());
    for (auto const& node : graph_.node()) names_.insert(names_.end(), node.output().begin(), node.output().end());
  }

  void change_something() {
    switch (random_.below(12)) {
      case 0:
        return change_tensor();
      case 1:
      case 2:
        return change_tensor_values();
      case 3:
        return change_value_shape();
      case 4:
        return change_version();
      case 5:
      case 6:
        return change_nodes();
      case 7:
      case 8:
        return change_attributes();
      default:
        return change_node();
    }
  }

 private:
  template <class List>
  auto* any_of(List* list) {
    return list->empty() ? nullptr : &(*list)[static_cast<int>(random_.below(list->size()))];
  }
  std::string any_name() { return names_.empty() || random_.chance(0.05) ? "" : random_.pick(names_); }
  std::string fresh_name() { return "n" + std::to_string(random_.below(1000)); }
  std::int64_t any_integer() {
    constexpr std::array<std::int64_t, 9> special{0,
                                                  1,
                                                  -1,
                                                  2,
                                                  std::numeric_limits<std::int64_t>::max(),
                                                  std::numeric_limits<std::int64_t>::min(),
                                                  std::int64_t{1} << 31,
                                                  std::int64_t{1} << 32,
                                                  1'000'000};
    return random_.chance(0.3) ? random_.pick(special) : random_.between(-4, 12);
  }

  void change_node() {
    auto* const node = any_of(graph_.mutable_node());
    if (!node) return;
    constexpr std::array operators{
        "Add",       "Sub",        "Mul",        "Div",     "MatMul",   "Gemm",
        "Relu",      "ReduceMean", "Sqrt",       "Pow",     "Concat",   "Slice",
        "Reshape",   "Transpose",  "Conv",       "Gather",  "Identity", "LayerNormalization",
        "Unsqueeze", "Squeeze",    "Split",      "Expand",  "Shape",    "Softmax",
        "Cast",      "Constant",   "Reciprocal", "Flatten", "Clip",     "BatchNormalization"};
    switch (random_.below(5)) {
      case 0:
        return node->set_op_type(random_.pick(operators));
      case 1:
        return node->add_input(any_name());
      case 2:
        if (node->input_size() > 0) node->mutable_input()->RemoveLast();
        return;
      case 3:
        if (node->output_size() > 0) node->set_output(0, random_.chance(0.5) ? fresh_name() : any_name());
        return;
      default:
        if (auto* const input = any_of(node->mutable_input())) *input = any_name();
    }
  }

  void change_nodes() {
    auto* const node = any_of(graph_.mutable_node());
    if (!node) return;
    int const last = graph_.node_size() - 1;
    switch (random_.below(3)) {
      case 0:  // gone
        node->Swap(graph_.mutable_node(last));
        return graph_.mutable_node()->RemoveLast();
      case 1: {  // there twice, with another name
        ::onnx::NodeProto copy = *node;
        if (copy.output_size() > 0) copy.set_output(0, fresh_name());
        *graph_.add_node() = copy;
        return;
      }
      default:
        node->Swap(any_of(graph_.mutable_node()));
    }
  }

  void change_attributes() {
    auto* const node = any_of(graph_.mutable_node());
    if (!node) return;
    auto* const attribute = any_of(node->mutable_attribute());
    if (!attribute || random_.chance(0.2)) {  // somebody else's
      auto* const other = any_of(graph_.mutable_node());
      if (auto* const given = any_of(other->mutable_attribute())) {
        ::onnx::AttributeProto const copy = *given;
        *node->add_attribute() = copy;
      }
      return;
    }
    switch (random_.below(4)) {
      case 0:
        return attribute->set_i(any_integer());
      case 1:
        return attribute->set_type(static_cast<::onnx::AttributeProto::AttributeType>(random_.below(8)));
      case 2:
        return attribute->set_f(static_cast<float>(any_integer()));
      default:
        if (attribute->ints_size() > 0 && random_.chance(0.7)) {
          attribute->set_ints(static_cast<int>(random_.below(attribute->ints_size())), any_integer());
        } else {
          attribute->add_ints(any_integer());
        }
    }
  }

  void change_tensor() {
    auto* const tensor = any_of(graph_.mutable_initializer());
    if (!tensor) return;
    switch (random_.below(5)) {
      case 0:
        return tensor->set_name(any_name());
      case 1:
        return tensor->set_data_type(static_cast<std::int32_t>(random_.between(-1, 17)));
      case 2:
        return tensor->add_dims(any_integer());
      case 3: {
        tensor->set_data_location(::onnx::TensorProto::EXTERNAL);
        auto* const entry = tensor->add_external_data();
        entry->set_key(random_.chance(0.5) ? "location" : "offset");
        entry->set_value(random_.chance(0.5) ? "../secret" : std::to_string(any_integer()));
        return;
      }
      default:
        if (tensor->dims_size() > 0) {
          tensor->set_dims(static_cast<int>(random_.below(tensor->dims_size())), any_integer());
        }
    }
  }

  void change_tensor_values() {
    auto* const tensor = any_of(graph_.mutable_initializer());
    if (!tensor) return;
    if (tensor->int64_data_size() > 0) {
      return tensor->set_int64_data(static_cast<int>(random_.below(tensor->int64_data_size())), any_integer());
    }
    std::string& raw = *tensor->mutable_raw_data();
    switch (random_.below(4)) {
      case 0:
        return tensor->add_int64_data(any_integer());
      case 1:
        return tensor->add_float_data(static_cast<float>(any_integer()));
      case 2:
        return raw.resize(static_cast<std::size_t>(random_.below(static_cast<Index>(raw.size()) + 9)));
      default:
        if (!raw.empty()) {
          raw[static_cast<std::size_t>(random_.below(static_cast<Index>(raw.size())))] =
              static_cast<char>(random_.below(256));
        }
    }
  }

  void change_value_shape() {
    auto* const value = any_of(random_.chance(0.7) ? graph_.mutable_input() : graph_.mutable_output());
    if (!value) return;
    auto& type = *value->mutable_type()->mutable_tensor_type();
    if (random_.chance(0.2)) return type.set_elem_type(static_cast<std::int32_t>(random_.below(17)));
    if (random_.chance(0.3) || type.shape().dim_size() == 0) return type.mutable_shape()->add_dim()->set_dim_value(2);
    any_of(type.mutable_shape()->mutable_dim())->set_dim_value(any_integer());
  }

  void change_version() {
    if (auto* const import = any_of(model_.mutable_opset_import())) import->set_version(random_.between(-1, 22));
  }

  ::onnx::ModelProto& model_;
  ::onnx::GraphProto& graph_;
  Random& random_;
  std::vector<std::string> names_;
};

}  // namespace fuzz
