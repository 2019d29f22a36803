// SPDX-License-Identifier: MIT
// foldnorm/onnx/operator_forms.hpp -- each operator of the layer graph as nodes of ONNX.
//
// A value features x tokens, column-major, is the tensor [tokens, features]: the same bytes. Likewise a weight out x in
// is the tensor [in, out], a table [vocabulary, features]; only a convolution's weight is laid out anew.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/onnx/form_steps.hpp>
#include <foldnorm/onnx/model_builder.hpp>
#include <foldnorm/onnx/target.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <string_view>

namespace foldnorm::inline FOLDNORM_ABI {

struct OnnxOptions {
  OnnxTarget target = OnnxTarget::onnx;
  Index tokens = 0;  // of every input; 0: any number, another one for each input
  // Names of rms_norms whose input is known to have zero mean, as a fold leaves it (folded_norms). For ONNX Runtime
  // those with a beta are written as LayerNormalization: it adds beta in the same pass, which its RMSNorm cannot.
  std::set<std::string, std::less<>> zero_mean = {};
};

namespace detail {

// Writes nodes by their forms, each behind those that it reads.
class OnnxOperatorForms : private OnnxFormSteps {
 public:
  OnnxOperatorForms(Graph const& graph, Parameters const& parameters, OnnxOptions const& options, OnnxModelBuilder& out)
      : OnnxFormSteps(graph, parameters, out), options_(options) {}

  // Preconditions: no input and no ids node; its parameters are there and fit. Throws graph_error for an operator that
  // has no form in ONNX.
  void add(Node const& node) {
    begin(node);
    add_form();
    end();
  }

 private:
  void linear() {
    bool const is_head = node().op == Operator::linear && description(Key::weight).is_table;
    Names inputs{in(0), matrix(Key::weight)};
    if (has(Key::bias)) inputs.push_back(vector(Key::bias));
    if (is_head) {
      step("Gemm", inputs, {{"transB", 1}});
    } else {
      step("Gemm", inputs);
    }
  }

  // Channels x positions, in a batch of one. Taps lie one after the other in our weight, within a channel in ONNX's.
  void convolution() {
    Index const kernel = node().count(Key::kernel), groups = node().count(Key::groups);
    if (kernel == 1 && groups == 1) return linear();
    Index const channels = input(0).features / groups;
    std::string const weight =
        initializer(Key::weight, {node().features, channels, kernel}, [&](Matrix<float> const& value) {
          Matrix<float> taps(kernel, channels * node().features);
          for (Index out = 0; out < node().features; ++out) {
            for (Index t = 0; t < kernel; ++t) {
              taps.row(t).segment(out * channels, channels) = value.row(out).segment(t * channels, channels);
            }
          }
          return taps;
        });
    std::string const batch = integers({0});
    Names inputs{step("Unsqueeze", {step("Transpose", {in(0)}, {{"perm", OnnxSizes{1, 0}}}), batch}), weight};
    if (has(Key::bias)) inputs.push_back(vector(Key::bias));
    std::string const y =
        step("Conv", inputs, {{"group", groups}, {"pads", OnnxSizes{(kernel - 1) / 2, (kernel - 1) / 2}}});
    step("Transpose", {step("Squeeze", {y, batch})}, {{"perm", OnnxSizes{1, 0}}});
  }

  // From one operand on, from the left.
  void combine(std::string_view operation) {
    std::string sum = in(0);
    for (std::size_t i = 1; i < node().inputs.size(); ++i) sum = step(operation, {sum, in(i)});
  }

  std::string mean(std::string const& x, std::int64_t axis) {
    return step("ReduceMean", {x}, {{"axes", OnnxSizes{axis}}, {"keepdims", 1}});
  }

  std::string rms_normalize(std::string const& x) {
    std::string const eps = scalar(node().number(Key::eps));
    std::string const root = step("Sqrt", {step("Add", {mean(step("Pow", {x, scalar(2)}), -1), eps})});
    return step("Div", {x, root});
  }

  // Groups are an axis of their own while they are normalized, and then gamma and beta come behind. Without a gamma
  // there are ones: operators ask for one, and runtimes know the primitives of an RMSNorm by it.
  void norm() {
    Index const groups = node().count(Key::groups), width = node().features / groups;
    bool const is_layer_norm =
        node().op == Operator::layer_norm || (options_.target == OnnxTarget::onnxruntime && has(Key::beta) &&
                                              groups == 1 && options_.zero_mean.contains(node().name));
    bool const takes_gamma = has(Key::gamma) && groups == 1;
    bool const takes_beta = has(Key::beta) && groups == 1 && is_layer_norm;
    std::string x = groups == 1 ? in(0) : reshape(in(0), {0, groups, width});
    std::string const gamma = takes_gamma ? vector(Key::gamma) : ones(width);
    if (!is_layer_norm && options_.target == OnnxTarget::onnx) {
      x = step("Mul", {rms_normalize(x), gamma});
    } else {
      Names inputs{x, gamma};
      if (takes_beta) inputs.push_back(vector(Key::beta));
      x = step(is_layer_norm ? "LayerNormalization" : "SimplifiedLayerNormalization", inputs,
               {{"axis", -1}, {"epsilon", static_cast<float>(node().number(Key::eps))}});
    }
    if (groups > 1) x = reshape(x, {0, node().features});
    if (has(Key::gamma) && !takes_gamma) x = step("Mul", {x, vector(Key::gamma)});
    if (has(Key::beta) && !takes_beta) x = step("Add", {x, vector(Key::beta)});
  }

  // [tokens, heads * length] -> the three axes in this order: 0 tokens, 1 heads, 2 length.
  std::string heads_of(std::string const& x, Index heads, Index length, OnnxSizes const& order) {
    return step("Transpose", {reshape(x, {0, heads, length})}, {{"perm", order}});
  }

  void attention() {
    Index const heads = node().count(Key::heads);
    Index const length = input(0).features / heads;
    std::string const queries = heads_of(in(0), heads, length, {1, 0, 2});
    std::string const keys = heads_of(in(1), heads, length, {1, 2, 0});
    std::string const values = heads_of(in(2), heads, node().features / heads, {1, 0, 2});
    std::string const scale = scalar(1 / std::sqrt(static_cast<double>(length)));
    std::string const scores = step("Mul", {step("MatMul", {queries, keys}), scale});
    std::string const mixed = step("MatMul", {step("Softmax", {scores}, {{"axis", -1}}), values});
    reshape(step("Transpose", {mixed}, {{"perm", OnnxSizes{1, 0, 2}}}), {0, node().features});
  }

  void gelu() {
    std::string const erf = step("Erf", {step("Div", {in(0), scalar(std::sqrt(2.0))})});
    step("Mul", {step("Mul", {in(0), step("Add", {erf, scalar(1)})}), scalar(0.5)});
  }

  void concatenate(std::int64_t axis) {
    Names inputs;
    for (std::size_t i = 0; i < node().inputs.size(); ++i) inputs.push_back(in(i));
    step("Concat", inputs, {{"axis", axis}});
  }

  void add_parameter() {
    step("Add", {in(0), node().count(Key::per_token) == 1 ? matrix(Key::value) : vector(Key::value)});
  }

  void slice_features() {
    Index const start = node().count(Key::start), end = start + node().count(Key::length);
    step("Slice", {in(0), integers({start}), integers({end}), integers({1})});
  }

  // Backwards from the last token to the first.
  void permute_tokens() {
    std::int64_t const before_the_first = std::numeric_limits<std::int64_t>::min();
    step("Slice", {in(0), integers({-1}), integers({before_the_first}), integers({0}), integers({-1})});
  }

  void add_form() {
    switch (node().op) {
      case Operator::linear:
        return linear();
      case Operator::conv:
        return convolution();
      case Operator::embedding:
        step("Gather", {matrix(Key::table), in(0)}, {{"axis", 0}});
        return;
      case Operator::add_parameter:
        return add_parameter();
      case Operator::scale_channels:
        step("Mul", {in(0), vector(Key::value)});
        return;
      case Operator::scale:
        step("Mul", {in(0), scalar(node().number(Key::by))});
        return;
      case Operator::add:
        return combine("Add");
      case Operator::subtract:
        return combine("Sub");
      case Operator::multiply:
        return combine("Mul");
      case Operator::identity:
      case Operator::dropout:
      case Operator::drop_path:
      case Operator::output:
        step("Identity", {in(0)});
        return;
      case Operator::relu:
        step("Relu", {in(0)});
        return;
      case Operator::gelu:
        return gelu();
      case Operator::silu:
        step("Mul", {in(0), step("Sigmoid", {in(0)})});
        return;
      case Operator::tanh:
        step("Tanh", {in(0)});
        return;
      case Operator::sigmoid:
        step("Sigmoid", {in(0)});
        return;
      case Operator::softmax:
        step("Softmax", {in(0)}, {{"axis", -1}});
        return;
      case Operator::center:
        step("Sub", {in(0), mean(in(0), -1)});
        return;
      case Operator::layer_norm:
      case Operator::rms_norm:
        return norm();
      case Operator::batch_norm:
        step("Add", {step("Mul", {in(0), vector(Key::scale)}), vector(Key::shift)});
        return;
      case Operator::concat_tokens:
        return concatenate(0);
      case Operator::concat_features:
        return concatenate(1);
      case Operator::slice_features:
        return slice_features();
      case Operator::mean_tokens:
        mean(in(0), 0);
        return;
      case Operator::max_tokens:
        step("ReduceMax", {in(0)}, {{"axes", OnnxSizes{0}}, {"keepdims", 1}});
        return;
      case Operator::permute_tokens:
        return permute_tokens();
      case Operator::merge_tokens:
        reshape(in(0), {-1, node().features});
        return;
      case Operator::attention:
        return attention();
      case Operator::input:
      case Operator::ids:
      case Operator::opaque:
        break;
    }
    detail::raise<graph_error>(node_text(node()) + ": has no form in ONNX");
  }

  OnnxOptions const& options_;
};

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
