// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/norm_nodes.hpp -- what a LayerNorm of an ONNX model becomes.
//
//   written out                  loses its mean and what subtracts it; for ONNX Runtime, one
//   SimplifiedLayerNormalization LayerNormalization           RMSNormalization from opset 23 on, else written out; for
//   ONNX Runtime as above
//
// Beta, which those operators do not have, is an Add. Half and bfloat16 are normalized in float, as stash_type says.
#pragma once

#include <foldnorm/onnx/detail/model_editor.hpp>
#include <foldnorm/onnx/infer_shapes.hpp>
#include <foldnorm/onnx/network.hpp>
#include <foldnorm/onnx/target.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

// What is left of a norm.
struct NormChange {
  bool loses_mean = false;
  bool loses_gamma = false;
  bool loses_beta = false;
};

class NormNodes {
 public:
  NormNodes(OnnxIndex const& index, OnnxShapes const& shapes, ModelEditor& editor, OnnxTarget target)
      : index_(index), shapes_(shapes), editor_(editor), target_(target) {}

  void change(OnnxNorm const& norm, std::int64_t axis, Index features, NormChange const& change) {
    if (norm.pattern) {
      change_pattern(norm, axis, features, change);
    } else {
      change_fused(norm.node, features, change);
    }
  }

 private:
  static constexpr std::int32_t f32 = ::onnx::TensorProto::FLOAT;

  ::onnx::TensorProto constant(std::int32_t type, Index count, double value) const {
    ParameterValue filled;
    with_onnx_scalar(type, [&]<class Scalar>(Scalar) {
      filled = Matrix<Scalar>(Matrix<Scalar>::Constant(count == 0 ? 1 : count, 1, static_cast<Scalar>(value)));
    });
    std::vector<std::int64_t> const shape(count == 0 ? 0 : 1, count);
    return make_tensor("", shape, {.rows = count == 0 ? 1 : count}, filled);
  }

  ::onnx::NodeProto rms_node(std::string const& type, std::string const& x, std::string const& gamma, double epsilon,
                             std::string const& output) const {
    ::onnx::NodeProto node = ModelEditor::make_node(type, {x, gamma}, output);
    ModelEditor::set_integer(node, "axis", -1);
    ModelEditor::set_float(node, "epsilon", epsilon);
    return node;
  }

  void change_pattern(OnnxNorm const& norm, std::int64_t axis, Index features, NormChange const& change) {
    NormPattern const& pattern = *norm.pattern;
    // Gamma and beta that go leave their names to what is in front of them: others read them, or they are outputs.
    int left = norm.node;  // the last node that stays
    std::string output = index_.node(left).output(0);
    for (auto const& [part, goes] :
         {std::pair(norm.gamma_node, change.loses_gamma), std::pair(norm.beta_node, change.loses_beta)}) {
      if (part == OnnxIndex::nobody) continue;
      if (goes) {
        editor_.remove(part);
      } else {
        std::string const& in_front = index_.node(left).output(0);
        if (output != in_front) editor_.redirect(output, in_front);  // beta reads what gamma read
        left = part;
      }
      output = index_.node(part).output(0);
    }
    editor_.node(left).set_output(0, output);
    if (!change.loses_mean) return;
    bool const keeps_gamma = norm.gamma_node != OnnxIndex::nobody && !change.loses_gamma;
    std::int32_t const type = shapes_.of(pattern.input).type;
    bool const fuses = axis == -1 && is_weight_type(type) && fits_attribute(pattern.epsilon);
    if (target_ == OnnxTarget::onnxruntime && fuses) {
      return fuse_pattern(norm, features, keeps_gamma, type);
    }
    drop_mean(pattern);
  }

  // An operator's epsilon is a float; one in a constant of double may be none.
  static bool fits_attribute(double epsilon) {
    using Limits = std::numeric_limits<float>;
    return epsilon == 0 || (epsilon >= double{Limits::min()} && epsilon <= double{Limits::max()});
  }

  void fuse_pattern(OnnxNorm const& norm, Index features, bool keeps_gamma, std::int32_t type) {
    int const last = norm.node;
    std::string gamma;
    if (keeps_gamma) {
      auto const& multiply = index_.node(norm.gamma_node);
      std::string const& read = multiply.input(multiply.input(0) == index_.node(last).output(0) ? 1 : 0);
      auto const* const tensor = index_.constant(read);
      if (tensor && tensor->dims_size() == 1) gamma = read;
    }
    int const place = gamma.empty() ? last : norm.gamma_node;
    std::string const output = editor_.node(place).output(0);
    if (!gamma.empty()) {  // the Mul is part of the new node
      editor_.remove(norm.gamma_node);
    } else {
      gamma = editor_.add_constant(output + ".gamma", constant(type, features, 1));
    }
    editor_.put_before(
        place, rms_node("SimplifiedLayerNormalization", norm.pattern->input, gamma, norm.pattern->epsilon, output));
    for (int const n : norm.pattern->nodes) editor_.remove(n);
  }

  // What is divided is x, and epsilon is added to the mean of its square; parts that only the mean needed go.
  void drop_mean(NormPattern const& pattern) {
    std::unordered_set<std::string> deviations;
    for (int const n : pattern.nodes) {
      auto const& node = index_.node(n);
      if (node.op_type() == "Sub" && node.input(0) == pattern.input) deviations.insert(node.output(0));
    }
    for (int const n : pattern.nodes) {
      for (auto& input : *editor_.node(n).mutable_input()) {
        if (deviations.contains(input)) input = pattern.input;
        if (input == pattern.variance && index_.node(n).op_type() == "Add") input = pattern.mean_square;
      }
    }
    std::unordered_set<std::string> needed{editor_.node(pattern.nodes.back()).output(0)};
    for (auto n = pattern.nodes.rbegin(); n != pattern.nodes.rend(); ++n) {
      auto const& node = editor_.node(*n);
      if (needed.contains(node.output(0))) {
        needed.insert(node.input().begin(), node.input().end());
      } else {
        editor_.remove(*n);
      }
    }
  }

  void change_fused(int n, Index features, NormChange const& change) {
    ::onnx::NodeProto& node = editor_.node(n);
    std::int32_t const type = index_.constant(gamma_source(node.input(1)))->data_type();
    std::string const gamma = change.loses_gamma
                                  ? editor_.add_constant(node.output(0) + ".gamma", constant(type, features, 1))
                                  : node.input(1);
    std::string const beta = change.loses_beta ? "" : input_of(node, 2);
    if (!change.loses_mean) {
      node.set_input(1, gamma);
      while (node.input_size() > 2 && change.loses_beta) node.mutable_input()->RemoveLast();
      return;
    }
    double const epsilon = float_attribute(node, "epsilon", 1e-5);
    std::string const x = node.input(0), output = node.output(0);
    std::string const scaled = beta.empty() ? output : editor_.fresh_value(output + ".scaled");
    if (target_ == OnnxTarget::onnxruntime || editor_.opset() >= 23) {
      char const* const operation =
          target_ == OnnxTarget::onnxruntime ? "SimplifiedLayerNormalization" : "RMSNormalization";
      editor_.put_before(n, rms_node(operation, x, gamma, epsilon, scaled));
    } else {
      bool const in_float =
          integer_attribute(node, "stash_type", 1) == f32 && type != f32 && type != ::onnx::TensorProto::DOUBLE;
      write_out(n, x, change.loses_gamma ? "" : gamma, epsilon, in_float ? f32 : type, type, scaled);
    }
    if (!beta.empty()) editor_.put_before(n, ModelEditor::make_node("Add", {scaled, beta}, output));
    editor_.remove(n);
  }
  // Gamma may be read by way of an Identity.
  std::string gamma_source(std::string value) const {
    while (!index_.constant(value)) value = index_.node(index_.producer(value)).input(0);
    return value;
  }

  void write_out(int n, std::string x, std::string const& gamma, double epsilon, std::int32_t inside,
                 std::int32_t outside, std::string const& output) {
    auto const put = [&](char const* type, std::vector<std::string> const& inputs, std::string const& value) {
      editor_.put_before(n, ModelEditor::make_node(type, inputs, value));
      return value;
    };
    auto const cast = [&](std::string const& from, std::int32_t to, std::string const& value) {
      ::onnx::NodeProto node = ModelEditor::make_node("Cast", {from}, value);
      ModelEditor::set_integer(node, "to", to);
      editor_.put_before(n, std::move(node));
      return value;
    };
    auto const fresh = [&](char const* part) { return editor_.fresh_value(output + part); };
    if (inside != outside) x = cast(x, inside, fresh(".float"));
    std::string const square = put("Mul", {x, x}, fresh(".square"));
    std::string const mean = fresh(".mean_square");
    editor_.put_before(n, editor_.make_mean(square, -1, mean));
    std::string const small = editor_.add_constant(output + ".epsilon", constant(inside, 0, epsilon));
    std::string const root = put("Sqrt", {put("Add", {mean, small}, fresh(".sum"))}, fresh(".root"));
    bool const is_last = gamma.empty() && inside == outside;
    std::string value = put("Div", {x, root}, is_last ? output : fresh(".normalized"));
    if (inside != outside) value = cast(value, outside, gamma.empty() ? output : fresh(".cast"));
    if (!gamma.empty()) put("Mul", {value, gamma}, output);
  }

  OnnxIndex const& index_;
  OnnxShapes const& shapes_;
  ModelEditor& editor_;
  OnnxTarget target_;
};

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
