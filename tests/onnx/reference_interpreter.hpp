// SPDX-License-Identifier: MIT
// tests/onnx/reference_interpreter.hpp -- ONNX operators in plain loops and double, as far as the tests' models go.
#pragma once

#include <onnx/onnx_pb.h>

#include "onnx/reference_operators.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::testing {

class ReferenceInterpreter {
 public:
  explicit ReferenceInterpreter(::onnx::ModelProto const& model) : graph_(model.graph()) {
    opset_ = model.opset_import(0).version();
  }

  TestTensors run(TestTensors const& inputs) {
    values_ = inputs;
    values_[""] = {};
    run_graph(graph_);
    TestTensors result;
    for (auto const& output : graph_.output()) result[output.name()] = values_.at(output.name());
    return result;
  }

  static TestTensor tensor_of(::onnx::TensorProto const& tensor) {
    TestTensor result(TestTensor::Shape(tensor.dims().begin(), tensor.dims().end()));
    auto const take = [&]<class Scalar>(Scalar, auto const& typed) {
      for (std::size_t i = 0; i < result.values.size(); ++i) {
        Scalar value{};
        if (tensor.has_raw_data()) {
          std::memcpy(&value, tensor.raw_data().data() + i * sizeof(Scalar), sizeof(Scalar));
        } else {
          value = typed.Get(static_cast<int>(i));
        }
        result.values[i] = static_cast<double>(value);
      }
    };
    if (tensor.data_type() == ::onnx::TensorProto::DOUBLE) take(double(), tensor.double_data());
    if (tensor.data_type() == ::onnx::TensorProto::FLOAT) take(float(), tensor.float_data());
    if (tensor.data_type() == ::onnx::TensorProto::INT64) take(std::int64_t(), tensor.int64_data());
    return result;
  }

 private:
  using Node = ::onnx::NodeProto;
  using Shape = TestTensor::Shape;

  TestTensor const& in(Node const& node, int i) const {
    return values_.at(i < node.input_size() ? node.input(i) : std::string());
  }
  bool has(Node const& node, int i) const { return i < node.input_size() && !node.input(i).empty(); }
  // Of an attribute, or an input.
  Shape list(Node const& node, char const* name, int input) const {
    if (auto const* const found = attribute(node, name)) return {found->ints().begin(), found->ints().end()};
    if (!has(node, input)) return {};
    auto const& values = in(node, input).values;
    return {values.begin(), values.end()};
  }

  void run_graph(::onnx::GraphProto const& graph) {
    for (auto const& tensor : graph.initializer()) values_[tensor.name()] = tensor_of(tensor);
    for (auto const& node : graph.node()) run_node(node);
  }
  void run_branch(Node const& node) {
    bool const holds = in(node, 0).values.at(0) != 0;
    auto const& branch = attribute(node, holds ? "then_branch" : "else_branch")->g();
    run_graph(branch);
    for (int k = 0; k < node.output_size(); ++k) values_[node.output(k)] = values_.at(branch.output(k).name());
  }
  // The first input is a state that each run of the body makes anew, so many times.
  void run_loop(Node const& node) {
    auto const& body = attribute(node, "body")->g();
    for (int i = 0; i < 2; ++i) values_[body.input(i).name()] = TestTensor(TestTensor::Shape{});
    values_[body.input(2).name()] = in(node, 2);
    for (double k = 0; k < in(node, 0).values.at(0); ++k) {
      run_graph(body);
      values_[body.input(2).name()] = values_.at(body.output(1).name());
    }
    values_[node.output(0)] = values_.at(body.input(2).name());
  }

  // One state and one input, of which each run of the body takes a slice along axis 0; likewise one output.
  void run_scan(Node const& node) {
    auto const& body = attribute(node, "body")->g();
    TestTensor const& all = in(node, 1);
    TestTensor::Shape const slice_dims(all.dims.begin() + 1, all.dims.end());
    values_[body.input(0).name()] = in(node, 0);
    TestTensor made;
    for (std::int64_t k = 0; k < all.dims[0]; ++k) {
      TestTensor slice(slice_dims);
      std::copy_n(all.values.begin() + k * slice.size(), slice.size(), slice.values.begin());
      values_[body.input(1).name()] = std::move(slice);
      run_graph(body);
      values_[body.input(0).name()] = values_.at(body.output(0).name());
      TestTensor const& one = values_.at(body.output(1).name());
      made.values.insert(made.values.end(), one.values.begin(), one.values.end());
      made.dims = one.dims;
    }
    made.dims.insert(made.dims.begin(), all.dims[0]);
    values_[node.output(0)] = values_.at(body.input(0).name());
    values_[node.output(1)] = std::move(made);
  }

  void run_node(Node const& node) {
    std::string const& op = node.op_type();
    if (op == "If") return run_branch(node);
    if (op == "Loop") return run_loop(node);
    if (op == "Scan") return run_scan(node);
    if (op == "Split") return run_split(node);
    values_[node.output(0)] = value_of(node, op);
  }

  TestTensor value_of(Node const& node, std::string const& op) const {
    static std::map<std::string, double (*)(double)> const functions{
        {"Relu", [](double x) { return std::max(x, 0.0); }},
        {"Tanh", [](double x) { return std::tanh(x); }},
        {"Erf", [](double x) { return std::erf(x); }},
        {"Sqrt", [](double x) { return std::sqrt(x); }},
        {"Neg", [](double x) { return -x; }},
        {"Reciprocal", [](double x) { return 1 / x; }},
        {"Identity", [](double x) { return x; }},
        {"Cast", [](double x) { return x; }},
        {"Dropout", [](double x) { return x; }},
        {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }}};
    static std::map<std::string, double (*)(double, double)> const combinations{
        {"Add", [](double x, double y) { return x + y; }},
        {"Sub", [](double x, double y) { return x - y; }},
        {"Mul", [](double x, double y) { return x * y; }},
        {"Div", [](double x, double y) { return x / y; }},
        {"Pow", [](double x, double y) { return std::pow(x, y); }},
        {"PRelu", [](double x, double slope) { return x < 0 ? slope * x : x; }},
        {"Greater", [](double x, double y) { return x > y ? 1.0 : 0.0; }},
        {"Max", [](double x, double y) { return std::max(x, y); }}};
    if (auto const found = functions.find(op); found != functions.end()) {
      TestTensor y = in(node, 0);
      for (double& value : y.values) value = found->second(value);
      return y;
    }
    if (auto const found = combinations.find(op); found != combinations.end()) {
      return combined(in(node, 0), in(node, 1), found->second);
    }
    if (op == "Constant") return tensor_of(attribute(node, "value")->t());
    if (op == "MatMul") return product(in(node, 0), in(node, 1));
    if (op == "Gemm") return gemm(node);
    if (op == "Conv") return convolution(node);
    if (op == "Gather") return gathered(node);
    if (op == "Transpose") return transposed(in(node, 0), list(node, "perm", 99));
    if (op == "Reshape") return reshaped(in(node, 0), list(node, "shape", 1));
    if (op == "Flatten") {
      auto const& x = in(node, 0);
      std::size_t const cut = x.axis(integer(node, "axis", 1));
      return reshaped(x, {x.product(0, cut), x.product(cut, x.rank())});
    }
    if (op == "Unsqueeze" || op == "Squeeze") return with_ones(in(node, 0), list(node, "axes", 1), op == "Unsqueeze");
    if (op == "Shape") {
      TestTensor y({static_cast<std::int64_t>(in(node, 0).rank())});
      std::copy(in(node, 0).dims.begin(), in(node, 0).dims.end(), y.values.begin());
      return y;
    }
    if (op == "Expand") {
      auto const target = list(node, "", 1);
      TestTensor const ones = [&] {
        TestTensor t(target);
        std::fill(t.values.begin(), t.values.end(), 1.0);
        return t;
      }();
      return combined(in(node, 0), ones, [](double x, double y) { return x * y; });
    }
    if (op == "Concat") return concatenated(node);
    if (op == "Slice") return sliced(node);
    if (op == "ReduceMean" || op == "ReduceSum" || op == "ReduceMax") return reduced(node, op);
    if (op == "Softmax" || op == "LayerNormalization" || op == "SimplifiedLayerNormalization" ||
        op == "RMSNormalization") {
      return normalized(node, op);
    }
    if (op == "BatchNormalization") return batch_norm(node);
    std::vector<TestTensor> inputs;
    for (int i = 0; i < node.input_size(); ++i) inputs.push_back(in(node, i));
    return ReferenceOperators(node, std::move(inputs), opset_).value();
  }

  static TestTensor combined(TestTensor const& a, TestTensor const& b, std::function<double(double, double)> const& f) {
    TestTensor y(broadcast_shape({&a, &b}));
    TestTensor::for_each_index(y.dims, [&](Shape const& index) { y.at(index) = f(a.at(index), b.at(index)); });
    return y;
  }
  static TestTensor product(TestTensor const& a, TestTensor const& b) {
    std::int64_t const inner = a.dims.back();
    TestTensor a_rows = a, b_columns = b;  // of the axes in front alone
    a_rows.dims.back() = 1;
    b_columns.dims[b.rank() - 2] = 1;
    a_rows.values.resize(static_cast<std::size_t>(a_rows.size()));
    b_columns.values.resize(static_cast<std::size_t>(b_columns.size()));
    TestTensor y = combined(a_rows, b_columns, [](double, double) { return 0.0; });
    TestTensor::for_each_index(y.dims, [&](Shape const& index) {
      Shape at_a = index, at_b = index;
      for (std::int64_t k = 0; k < inner; ++k) {
        at_a.back() = k;
        at_b[index.size() - 2] = k;
        y.at(index) += a.at(at_a) * b.at(at_b);
      }
    });
    return y;
  }
  TestTensor gemm(Node const& node) const {
    auto const flipped = [&](int i, char const* name) {
      return integer(node, name, 0) != 0 ? transposed(in(node, i), {1, 0}) : in(node, i);
    };
    double const alpha = number(node, "alpha", 1), beta = number(node, "beta", 1);
    TestTensor y = product(flipped(0, "transA"), flipped(1, "transB"));
    for (double& value : y.values) value *= alpha;
    return has(node, 2) ? combined(y, in(node, 2), [&](double x, double b) { return x + beta * b; }) : y;
  }
  // Stride 1, any number of axes; pads in front and behind alike.
  TestTensor convolution(Node const& node) const {
    auto const &x = in(node, 0), &w = in(node, 1);
    std::size_t const axes = x.rank() - 2;
    Shape pads = list(node, "pads", 99);
    pads.resize(2 * axes, 0);
    std::int64_t const groups = integer(node, "group", 1), out = w.dims[0], in_group = w.dims[1];
    Shape dims{x.dims[0], out}, taps(w.dims.begin() + 2, w.dims.end());
    for (std::size_t i = 0; i < axes; ++i) dims.push_back(x.dims[i + 2] + pads[i] + pads[i + axes] - taps[i] + 1);
    TestTensor y(dims);
    TestTensor::for_each_index(dims, [&](Shape const& index) {
      double sum = has(node, 2) ? in(node, 2).values[static_cast<std::size_t>(index[1])] : 0;
      for (std::int64_t c = 0; c < in_group; ++c) {
        TestTensor::for_each_index(taps, [&](Shape const& tap) {
          Shape at_x{index[0], index[1] / (out / groups) * in_group + c}, at_w{index[1], c};
          for (std::size_t i = 0; i < axes; ++i) {
            at_x.push_back(index[i + 2] + tap[i] - pads[i]);
            at_w.push_back(tap[i]);
            if (at_x.back() < 0 || at_x.back() >= x.dims[i + 2]) return;
          }
          sum += x.at(at_x) * w.at(at_w);
        });
      }
      y.at(index) = sum;
    });
    return y;
  }
  TestTensor gathered(Node const& node) const {
    auto const& x = in(node, 0);
    return taken(x, in(node, 1), x.axis(integer(node, "axis", 0)));
  }
  static TestTensor taken(TestTensor const& x, TestTensor const& places, std::size_t axis) {
    Shape dims(x.dims.begin(), x.dims.begin() + static_cast<std::ptrdiff_t>(axis));
    dims.insert(dims.end(), places.dims.begin(), places.dims.end());
    dims.insert(dims.end(), x.dims.begin() + static_cast<std::ptrdiff_t>(axis) + 1, x.dims.end());
    TestTensor y(dims);
    TestTensor::for_each_index(dims, [&](Shape const& index) {
      auto const middle = index.begin() + static_cast<std::ptrdiff_t>(axis);
      auto const behind = middle + static_cast<std::ptrdiff_t>(places.rank());
      Shape at(index.begin(), middle);
      auto const place = static_cast<std::int64_t>(places.at(Shape(middle, behind)));
      at.push_back(place < 0 ? place + x.dims[axis] : place);
      at.insert(at.end(), behind, index.end());
      y.at(index) = x.at(at);
    });
    return y;
  }
  static TestTensor transposed(TestTensor const& x, Shape perm) {
    if (perm.empty()) {
      for (std::size_t i = x.rank(); i-- > 0;) perm.push_back(static_cast<std::int64_t>(i));
    }
    Shape dims;
    for (auto const axis : perm) dims.push_back(x.dims[static_cast<std::size_t>(axis)]);
    TestTensor y(dims);
    TestTensor::for_each_index(dims, [&](Shape const& index) {
      Shape at(index.size());
      for (std::size_t i = 0; i < perm.size(); ++i) at[static_cast<std::size_t>(perm[i])] = index[i];
      y.at(index) = x.at(at);
    });
    return y;
  }
  static TestTensor reshaped(TestTensor x, Shape dims) {
    std::int64_t known = 1, *rest = nullptr;
    for (std::size_t i = 0; i < dims.size(); ++i) {
      if (dims[i] == 0) dims[i] = x.dims[i];
      if (dims[i] < 0) rest = &dims[i];
      if (dims[i] > 0) known *= dims[i];
    }
    if (rest) *rest = x.size() / known;
    x.dims = std::move(dims);
    if (x.size() != static_cast<std::int64_t>(x.values.size())) throw std::invalid_argument("reshape: sizes differ");
    return x;
  }
  static TestTensor with_ones(TestTensor x, Shape axes, bool inserts) {
    std::size_t const rank = x.rank() + (inserts ? axes.size() : 0);
    for (auto& axis : axes) axis = axis < 0 ? axis + static_cast<std::int64_t>(rank) : axis;
    std::sort(axes.begin(), axes.end());
    if (!inserts) std::reverse(axes.begin(), axes.end());
    for (auto const axis : axes) {
      auto const place = x.dims.begin() + axis;
      inserts ? x.dims.insert(place, 1) : x.dims.erase(place);
    }
    return x;
  }
  TestTensor concatenated(Node const& node) const {
    std::size_t const axis = in(node, 0).axis(integer(node, "axis", 0));
    Shape dims = in(node, 0).dims;
    for (int i = 1; i < node.input_size(); ++i) dims[axis] += in(node, i).dims[axis];
    TestTensor y(dims);
    std::int64_t begin = 0;
    for (int i = 0; i < node.input_size(); ++i) {
      TestTensor::for_each_index(in(node, i).dims, [&](Shape index) {
        double const value = in(node, i).at(index);
        index[axis] += begin;
        y.at(index) = value;
      });
      begin += in(node, i).dims[axis];
    }
    return y;
  }
  static TestTensor part(TestTensor const& x, std::size_t axis, std::int64_t begin, std::int64_t end) {
    Shape dims = x.dims;
    dims[axis] = end - begin;
    TestTensor y(dims);
    TestTensor::for_each_index(dims, [&](Shape index) {
      Shape const to = index;
      index[axis] += begin;
      y.at(to) = x.at(index);
    });
    return y;
  }
  TestTensor sliced(Node const& node) const {
    TestTensor y = in(node, 0);
    Shape const starts = list(node, "starts", 1), ends = list(node, "ends", 2), axes = list(node, "axes", 3),
                steps = list(node, "steps", 4);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      std::size_t const axis = y.axis(axes.empty() ? static_cast<std::int64_t>(i) : axes[i]);
      std::int64_t const step = steps.empty() ? 1 : steps[i], length = y.dims[axis], back = step < 0 ? 1 : 0;
      auto const place = [&](std::int64_t at) {
        return std::clamp<std::int64_t>(at < 0 ? at + length : at, -back, length - back);
      };
      TestTensor places;
      std::int64_t const end = place(ends[i]);
      for (std::int64_t at = std::max<std::int64_t>(place(starts[i]), 0); step < 0 ? at > end : at < end; at += step) {
        places.values.push_back(static_cast<double>(at));
      }
      places.dims = {static_cast<std::int64_t>(places.values.size())};
      y = taken(y, places, axis);
    }
    return y;
  }
  void run_split(Node const& node) {
    TestTensor const x = in(node, 0);
    std::size_t const axis = x.axis(integer(node, "axis", 0));
    Shape lengths = list(node, "split", 1);
    if (lengths.empty())
      lengths.assign(static_cast<std::size_t>(node.output_size()), x.dims[axis] / node.output_size());
    std::int64_t begin = 0;
    for (int k = 0; k < node.output_size(); ++k) {
      std::int64_t const end = begin + lengths[static_cast<std::size_t>(k)];
      values_[node.output(k)] = part(x, axis, begin, end);
      begin = end;
    }
  }
  TestTensor reduced(Node const& node, std::string const& op) const {
    auto const& x = in(node, 0);
    Shape dims = x.dims, axes = list(node, "axes", 1);
    double count = 1;
    for (auto& axis : axes) {
      axis = static_cast<std::int64_t>(x.axis(axis));
      count *= static_cast<double>(x.dims[static_cast<std::size_t>(axis)]);
      dims[static_cast<std::size_t>(axis)] = 1;
    }
    TestTensor y(dims);
    bool const is_max = op == "ReduceMax";
    if (is_max) std::fill(y.values.begin(), y.values.end(), -std::numeric_limits<double>::infinity());
    TestTensor::for_each_index(x.dims, [&](Shape const& index) {
      y.at(index) = is_max ? std::max(y.at(index), x.at(index)) : y.at(index) + x.at(index);
    });
    if (op == "ReduceMean") {
      for (double& value : y.values) value /= count;
    }
    return integer(node, "keepdims", 1) != 0 ? y : with_ones(y, axes, false);
  }
  // One axis: softmax's, or the last of norms.
  TestTensor normalized(Node const& node, std::string const& op) const {
    TestTensor y = in(node, 0);
    std::size_t const axis = y.axis(integer(node, "axis", -1));
    double const epsilon = number(node, "epsilon", double{1e-5F});
    Shape dims = y.dims;
    dims[axis] = 1;
    auto const length = y.dims[axis];
    TestTensor::for_each_index(dims, [&](Shape index) {
      auto const each = [&](auto action) {
        for (index[axis] = 0; index[axis] < length; ++index[axis]) action(y.at(index));
        index[axis] = 0;
      };
      if (op == "Softmax") {
        double sum = 0;
        each([&](double& value) { sum += value = std::exp(value); });
        each([&](double& value) { value /= sum; });
        return;
      }
      double mean = 0, square = 0;
      if (op == "LayerNormalization") each([&](double value) { mean += value / static_cast<double>(length); });
      each([&](double value) { square += (value - mean) * (value - mean) / static_cast<double>(length); });
      each([&](double& value) { value = (value - mean) / std::sqrt(square + epsilon); });
    });
    if (op == "Softmax") return y;
    y = combined(y, in(node, 1), [](double x, double gamma) { return x * gamma; });
    return has(node, 2) ? combined(y, in(node, 2), [](double x, double beta) { return x + beta; }) : y;
  }
  TestTensor batch_norm(Node const& node) const {
    TestTensor y = in(node, 0);
    double const epsilon = number(node, "epsilon", double{1e-5F});
    TestTensor::for_each_index(y.dims, [&](Shape const& index) {
      auto const c = static_cast<std::size_t>(index[1]);
      auto const parameter = [&](int i) { return in(node, i).values[c]; };
      y.at(index) = (y.at(index) - parameter(3)) / std::sqrt(parameter(4) + epsilon) * parameter(1) + parameter(2);
    });
    return y;
  }

  ::onnx::GraphProto const& graph_;
  std::int64_t opset_ = 0;
  TestTensors values_;
};

inline TestTensors run_model(::onnx::ModelProto const& model, TestTensors const& inputs) {
  return ReferenceInterpreter(model).run(inputs);
}
// The largest difference, relative to the largest value, of all outputs; to 1 where that is smaller, since an output
// that is zero but for rounding (a mean of normalized values) has nothing to be relative to.
inline double difference(TestTensors const& a, TestTensors const& b) {
  double worst = 0;
  for (auto const& [name, x] : a) {
    TestTensor const& y = b.at(name);
    if (x.dims != y.dims) return std::numeric_limits<double>::infinity();
    double largest = 1, apart = 0;
    for (std::size_t i = 0; i < x.values.size(); ++i) {
      if (!std::isfinite(x.values[i])) continue;
      if (!std::isfinite(y.values[i])) return std::numeric_limits<double>::infinity();
      largest = std::max(largest, std::abs(x.values[i]));
      apart = std::max(apart, std::abs(x.values[i] - y.values[i]));
    }
    worst = std::max(worst, apart / largest);
  }
  return worst;
}
inline TestTensor random_tensor(TestTensor::Shape dims, std::uint64_t seed) {
  TestTensor result(std::move(dims));
  std::mt19937_64 random(seed);
  std::normal_distribution<double> numbers(0.2, 1);
  for (double& value : result.values) value = numbers(random);
  return result;
}

}  // namespace foldnorm::testing
