// SPDX-License-Identifier: MIT
// tests/onnx/onnx_testing.hpp -- ONNX models built node by node, and folded by way of a file.
#pragma once

#include <foldnorm/onnx/fold_model.hpp>
#include <foldnorm/onnx/report.hpp>

#include "files/file_testing.hpp"
#include "onnx/reference_interpreter.hpp"

#include "catch.hpp"

#include <cstdint>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::testing {

// Values are double, so that a right fold differs by rounding alone; see tests/graph/graph_testing.hpp.
class ModelBuilder {
 public:
  explicit ModelBuilder(std::int64_t opset = 17, std::uint64_t seed = 1) : random_(seed) {
    model.set_ir_version(8);
    auto& import = *model.add_opset_import();
    import.set_domain("");
    import.set_version(opset);
    model.mutable_graph()->set_name("test");
  }

  ::onnx::ModelProto model;

  std::int64_t opset() const { return model.opset_import(0).version(); }
  // A negative length is symbolic.
  std::string input(std::string const& name, std::vector<std::int64_t> const& dims,
                    std::int32_t type = ::onnx::TensorProto::DOUBLE) {
    describe(*model.mutable_graph()->add_input(), name, dims, type);
    return name;
  }
  std::string output(std::string const& name) {
    describe(*model.mutable_graph()->add_output(), name, {}, ::onnx::TensorProto::DOUBLE);
    model.mutable_graph()->mutable_output()->rbegin()->mutable_type()->mutable_tensor_type()->clear_shape();
    return name;
  }

  ::onnx::NodeProto& add(std::string const& type, std::vector<std::string> const& inputs,
                         std::vector<std::string> const& outputs) {
    auto& node = *model.mutable_graph()->add_node();
    node.set_op_type(type);
    for (auto const& input : inputs) node.add_input(input);
    for (auto const& output : outputs) node.add_output(output);
    return node;
  }
  // A node of one output, which gets a name of its own.
  std::string node(std::string const& type, std::vector<std::string> const& inputs,
                   std::vector<std::pair<std::string, std::int64_t>> const& integers = {},
                   std::vector<std::pair<std::string, std::vector<std::int64_t>>> const& lists = {}) {
    std::string const output = type + std::to_string(++made_);
    auto& made = add(type, inputs, {output});
    for (auto const& [name, value] : integers) set(made, name, value);
    for (auto const& [name, values] : lists) set(made, name, values);
    return output;
  }
  static void set(::onnx::NodeProto& node, std::string const& name, std::int64_t value) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(::onnx::AttributeProto::INT);
    attribute.set_i(value);
  }
  static void set(::onnx::NodeProto& node, std::string const& name, std::vector<std::int64_t> const& values) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(::onnx::AttributeProto::INTS);
    for (auto const value : values) attribute.add_ints(value);
  }
  ::onnx::NodeProto& last() { return *model.mutable_graph()->mutable_node()->rbegin(); }
  static void set_number(::onnx::NodeProto& node, std::string const& name, double value) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(::onnx::AttributeProto::FLOAT);
    attribute.set_f(static_cast<float>(value));
  }
  static void set_text(::onnx::NodeProto& node, std::string const& name, std::string const& value) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(::onnx::AttributeProto::STRING);
    attribute.set_s(value);
  }
  // An attribute that is a graph: what `build` adds, with these outputs.
  template <class Build>
  void set_graph(::onnx::NodeProto& node, std::string const& name, Build build) {
    ::onnx::GraphProto inner, *const outer = model.mutable_graph();
    inner.set_name(name);
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(::onnx::AttributeProto::GRAPH);
    outer->Swap(&inner);  // so that nodes go where they belong
    std::string const output = build();
    outer->add_output()->set_name(output);
    outer->Swap(&inner);
    attribute.mutable_g()->Swap(&inner);
  }

  std::string constant(std::string const& name, std::vector<std::int64_t> const& dims,
                       std::vector<double> const& values) {
    auto& tensor = *model.mutable_graph()->add_initializer();
    tensor.set_name(name);
    for (auto const length : dims) tensor.add_dims(length);
    tensor.set_data_type(::onnx::TensorProto::DOUBLE);
    tensor.set_raw_data(values.data(), values.size() * sizeof(double));
    return name;
  }
  // Random numbers about 0.3, so that means are no zeros.
  std::string weight(std::string const& name, std::vector<std::int64_t> const& dims) {
    std::int64_t count = 1;
    for (auto const length : dims) count *= length;
    std::normal_distribution<double> numbers(0.3, 1);
    std::vector<double> values(static_cast<std::size_t>(count));
    for (double& value : values) value = numbers(random_);
    return constant(name, dims, values);
  }
  std::string integers(std::string const& name, std::vector<std::int64_t> const& values) {
    auto& tensor = *model.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.add_dims(static_cast<std::int64_t>(values.size()));
    tensor.set_data_type(::onnx::TensorProto::INT64);
    for (auto const value : values) tensor.add_int64_data(value);
    return name;
  }
  std::string constant_index(std::string const& name, std::int64_t value) {  // a scalar
    integers(name, {value});
    model.mutable_graph()->mutable_initializer()->rbegin()->clear_dims();
    return name;
  }
  std::string floats(std::string const& name, std::vector<float> const& values) {  // what Resize's factors are
    auto& tensor = *model.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.add_dims(static_cast<std::int64_t>(values.size()));
    tensor.set_data_type(::onnx::TensorProto::FLOAT);
    for (float const value : values) tensor.add_float_data(value);
    return name;
  }
  std::string scalar(double value) { return constant("scalar" + std::to_string(++made_), {}, {value}); }

  std::string linear(std::string const& x, std::int64_t in, std::int64_t out) {
    std::string const name = "linear" + std::to_string(++made_);
    return node("Add", {node("MatMul", {x, weight(name + ".weight", {in, out})}), weight(name + ".bias", {out})});
  }
  std::string mean(std::string const& x, std::int64_t axis = -1) {
    if (opset() < 18) return node("ReduceMean", {x}, {{"keepdims", 1}}, {{"axes", {axis}}});
    return node("ReduceMean", {x, integers("axes" + std::to_string(++made_), {axis})}, {{"keepdims", 1}});
  }
  // Fused, or the parts of it.
  std::string layer_norm(std::string const& x, std::int64_t features) {
    std::string const name = "norm" + std::to_string(++made_);
    return node("LayerNormalization", {x, weight(name + ".gamma", {features}), weight(name + ".beta", {features})});
  }
  std::string written_out(std::string const& x, std::int64_t features) {
    std::string const name = "norm" + std::to_string(++made_);
    std::string const deviation = node("Sub", {x, mean(x)});
    std::string const root = node("Sqrt", {node("Add", {mean(node("Pow", {deviation, scalar(2)})), scalar(1e-5)})});
    std::string const scaled = node("Mul", {node("Div", {deviation, root}), weight(name + ".gamma", {features})});
    return node("Add", {scaled, weight(name + ".beta", {features})});
  }

 private:
  static void describe(::onnx::ValueInfoProto& info, std::string const& name, std::vector<std::int64_t> const& dims,
                       std::int32_t type) {
    info.set_name(name);
    auto& tensor = *info.mutable_type()->mutable_tensor_type();
    tensor.set_elem_type(type);
    tensor.mutable_shape();
    for (auto const length : dims) {
      auto& dim = *tensor.mutable_shape()->add_dim();
      length < 0 ? dim.set_dim_param("n" + std::to_string(-length)) : dim.set_dim_value(length);
    }
  }

  std::mt19937_64 random_;
  int made_ = 0;
};

// A model as a file, folded.
class FoldedTestModel {
 public:
  // Which norms fold is one thing, which of them are faster another: `leaves_slower`.
  explicit FoldedTestModel(::onnx::ModelProto const& model, OnnxFoldOptions const& options = {},
                           bool leaves_slower = false)
      : file_(written(folder_, model)), folded(fold_onnx_model(file_, with_slower(options, !leaves_slower))) {}

  ::onnx::ModelProto const& original() const { return file_.model(); }
  std::string report() const {
    std::ostringstream out;
    print_report(out, file_, folded);
    return out.str();
  }
  // How far the fold moves the outputs, relative to their size; 0 if nothing changes.
  double error(TestTensors const& inputs) const {
    if (!folded.changes()) return 0;
    return difference(run_model(file_.model(), inputs), run_model(folded.model, inputs));
  }

 private:
  static OnnxFoldOptions with_slower(OnnxFoldOptions options, bool folds) {
    options.fold_slower = folds;
    return options;
  }
  static std::filesystem::path written(TemporaryFolder const& folder, ::onnx::ModelProto const& model) {
    write_bytes(folder / "model.onnx", model.SerializeAsString());
    return folder / "model.onnx";
  }

  TemporaryFolder folder_;
  OnnxFile file_;

 public:
  FoldedOnnx folded;
};

}  // namespace foldnorm::testing
