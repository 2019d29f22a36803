// SPDX-License-Identifier: MIT
// tests/onnx/reference_operators.hpp -- ONNX operators of several inputs in plain loops and double: products by
// equation, pools, transposed convolution, and those that choose, pad, repeat and resize.
#pragma once

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::testing {

struct TestTensor {
  using Shape = std::vector<std::int64_t>;
  Shape dims;
  std::vector<double> values;  // row-major

  TestTensor() = default;
  explicit TestTensor(Shape shape) : dims(std::move(shape)), values(static_cast<std::size_t>(size())) {}
  std::int64_t size() const { return product(0, dims.size()); }
  std::int64_t product(std::size_t begin, std::size_t end) const {
    std::int64_t result = 1;
    for (std::size_t i = begin; i < end; ++i) result *= dims[i];
    return result;
  }
  std::size_t rank() const { return dims.size(); }
  std::size_t axis(std::int64_t axis) const {
    return static_cast<std::size_t>(axis < 0 ? axis + static_cast<std::int64_t>(rank()) : axis);
  }
  // Every index in turn, row-major.
  template <class Action>
  static void for_each_index(Shape const& dims, Action action) {
    Shape index(dims.size(), 0);
    for (auto const length : dims) {
      if (length == 0) return;
    }
    for (;;) {
      action(index);
      std::size_t i = dims.size();
      while (i > 0 && ++index[i - 1] == dims[i - 1]) index[--i] = 0;
      if (i == 0) return;
    }
  }
  // Broadcasting: aligned at the end, axes of length 1 are repeated.
  double& at(Shape const& index) {
    std::int64_t place = 0;
    for (std::size_t i = 0; i < rank(); ++i) {
      place = place * dims[i] + (dims[i] == 1 ? 0 : index[index.size() - rank() + i]);
    }
    return values[static_cast<std::size_t>(place)];
  }
  double at(Shape const& index) const { return const_cast<TestTensor&>(*this).at(index); }
};
using TestTensors = std::map<std::string, TestTensor>;

inline TestTensor::Shape broadcast_shape(std::initializer_list<TestTensor const*> operands) {
  TestTensor::Shape dims;
  for (auto const* x : operands) dims.resize(std::max(dims.size(), x->rank()), 1);
  for (auto const* x : operands) {
    for (std::size_t i = 1; i <= x->rank(); ++i) {
      auto& length = dims[dims.size() - i];
      length = length == 1 ? x->dims[x->rank() - i] : length;
    }
  }
  return dims;
}

inline ::onnx::AttributeProto const* attribute(::onnx::NodeProto const& node, char const* name) {
  for (auto const& attribute : node.attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}
inline std::int64_t integer(::onnx::NodeProto const& node, char const* name, std::int64_t otherwise) {
  return attribute(node, name) ? attribute(node, name)->i() : otherwise;
}
inline double number(::onnx::NodeProto const& node, char const* name, double otherwise) {
  return attribute(node, name) ? static_cast<double>(attribute(node, name)->f()) : otherwise;
}
inline std::string text(::onnx::NodeProto const& node, char const* name, std::string const& otherwise) {
  return attribute(node, name) ? attribute(node, name)->s() : otherwise;
}

class ReferenceOperators {
 public:
  ReferenceOperators(::onnx::NodeProto const& node, std::vector<TestTensor> inputs, std::int64_t opset)
      : node_(node), inputs_(std::move(inputs)), opset_(opset) {}

  TestTensor value() const {
    std::string const& op = node_.op_type();
    if (op == "Where") return chosen();
    if (op == "Pad") return padded();
    if (op == "Tile") return tiled();
    if (op == "Resize" || op == "Upsample") return resized();
    if (op == "Einsum") return einsum();
    if (op == "ConvTranspose") return transposed_convolution();
    if (op == "AveragePool" || op == "MaxPool") return pooled(op == "MaxPool");
    if (op == "GlobalAveragePool") return averaged();
    throw std::invalid_argument("reference interpreter: no " + op);
  }

 private:
  using Shape = TestTensor::Shape;

  bool has(std::size_t i) const { return i < inputs_.size() && !inputs_[i].values.empty(); }
  Shape list(char const* name, std::size_t input) const {
    if (auto const* const found = attribute(node_, name)) return {found->ints().begin(), found->ints().end()};
    if (!has(input)) return {};
    return {inputs_[input].values.begin(), inputs_[input].values.end()};
  }

  TestTensor chosen() const {
    TestTensor y(broadcast_shape({&inputs_[0], &inputs_[1], &inputs_[2]}));
    TestTensor::for_each_index(
        y.dims, [&](Shape const& index) { y.at(index) = inputs_[inputs_[0].at(index) != 0 ? 1 : 2].at(index); });
    return y;
  }

  TestTensor padded() const {
    auto const& x = inputs_[0];
    Shape const pads = list("pads", 1);
    std::string const mode = text(node_, "mode", "constant");
    double const value = has(2) ? inputs_[2].values[0] : number(node_, "value", 0);
    Shape dims = x.dims;
    for (std::size_t i = 0; i < x.rank(); ++i) dims[i] += pads[i] + pads[x.rank() + i];
    TestTensor y(dims);
    TestTensor::for_each_index(dims, [&](Shape const& index) {
      Shape from = index;
      bool is_inside = true;
      for (std::size_t i = 0; i < from.size(); ++i) {
        auto const last = x.dims[i] - 1;
        from[i] -= pads[i];
        is_inside = is_inside && from[i] >= 0 && from[i] <= last;
        if (mode == "edge") from[i] = std::clamp<std::int64_t>(from[i], 0, last);
        if (mode == "reflect") from[i] = last - std::abs(last - std::abs(from[i]));
      }
      y.at(index) = is_inside || mode != "constant" ? x.at(from) : value;
    });
    return y;
  }

  TestTensor tiled() const {
    auto const& x = inputs_[0];
    Shape dims = x.dims;
    for (std::size_t i = 0; i < x.rank(); ++i) dims[i] *= static_cast<std::int64_t>(inputs_[1].values[i]);
    TestTensor y(dims);
    TestTensor::for_each_index(dims, [&](Shape const& index) {
      Shape from = index;
      for (std::size_t i = 0; i < from.size(); ++i) from[i] %= x.dims[i];
      y.at(index) = x.at(from);
    });
    return y;
  }

  // By whole factors; linear with half_pixel, one axis after the other.
  TestTensor resized() const {
    TestTensor x = inputs_[0];
    bool const is_linear = text(node_, "mode", "nearest") == "linear";
    std::vector<double> factors;
    if (auto const* const scales = attribute(node_, "scales")) {
      factors.assign(scales->floats().begin(), scales->floats().end());
    } else {
      factors = inputs_[node_.op_type() == "Upsample" || opset_ < 11 ? 1 : 2].values;
    }
    for (std::size_t axis = 0; axis < x.rank(); ++axis) {
      double const factor = has(3) ? inputs_[3].values[axis] / static_cast<double>(x.dims[axis]) : factors[axis];
      Shape dims = x.dims;
      dims[axis] = static_cast<std::int64_t>(factor * static_cast<double>(dims[axis]));
      TestTensor y(dims);
      TestTensor::for_each_index(dims, [&](Shape const& index) {
        auto const at = [&](std::int64_t place) {
          Shape from = index;
          from[axis] = std::clamp<std::int64_t>(place, 0, x.dims[axis] - 1);
          return x.at(from);
        };
        double const place = (static_cast<double>(index[axis]) + 0.5) / factor - 0.5;
        auto const below = static_cast<std::int64_t>(std::floor(place));
        double const part = place - std::floor(place);
        auto const nearest = static_cast<std::int64_t>(static_cast<double>(index[axis]) / factor);
        y.at(index) = is_linear ? (1 - part) * at(below) + part * at(below + 1) : at(nearest);
      });
      x = y;
    }
    return x;
  }

  TestTensor einsum() const {
    std::string const equation = attribute(node_, "equation")->s();
    auto const comma = equation.find(','), arrow = equation.find("->");
    std::string const terms[] = {equation.substr(0, comma), equation.substr(comma + 1, arrow - comma - 1)};
    std::map<char, std::size_t> place;  // of a label among all
    Shape lengths;
    for (std::size_t k = 0; k < 2; ++k) {
      for (std::size_t i = 0; i < terms[k].size(); ++i) {
        if (place.emplace(terms[k][i], lengths.size()).second) lengths.push_back(inputs_[k].dims[i]);
      }
    }
    auto const only = [&](std::string const& term, Shape const& all) {
      Shape result;
      for (char const label : term) result.push_back(all[place.at(label)]);
      return result;
    };
    std::string const out = equation.substr(arrow + 2);
    TestTensor y(only(out, lengths));
    TestTensor::for_each_index(lengths, [&](Shape const& all) {
      y.at(only(out, all)) += inputs_[0].at(only(terms[0], all)) * inputs_[1].at(only(terms[1], all));
    });
    return y;
  }

  // No padding; weight [in, out / groups, taps...].
  TestTensor transposed_convolution() const {
    auto const &x = inputs_[0], &w = inputs_[1];
    std::int64_t const groups = integer(node_, "group", 1), out = w.dims[1] * groups, in_group = w.dims[0] / groups;
    Shape strides = list("strides", 99);
    strides.resize(x.rank() - 2, 1);
    Shape dims{x.dims[0], out};
    for (std::size_t i = 2; i < x.rank(); ++i) dims.push_back((x.dims[i] - 1) * strides[i - 2] + w.dims[i]);
    TestTensor y(dims);
    if (has(2)) {
      TestTensor::for_each_index(
          dims, [&](Shape const& index) { y.at(index) = inputs_[2].values[static_cast<std::size_t>(index[1])]; });
    }
    TestTensor::for_each_index(x.dims, [&](Shape const& from) {
      Shape taps(w.dims.begin() + 1, w.dims.end());
      TestTensor::for_each_index(taps, [&](Shape const& tap) {
        Shape to{from[0], from[1] / in_group * w.dims[1] + tap[0]}, at_w{from[1]};
        at_w.insert(at_w.end(), tap.begin(), tap.end());
        for (std::size_t i = 2; i < x.rank(); ++i) to.push_back(from[i] * strides[i - 2] + tap[i - 1]);
        y.at(to) += x.at(from) * w.at(at_w);
      });
    });
    return y;
  }

  TestTensor pooled(bool is_max) const {
    auto const& x = inputs_[0];
    Shape const taps = list("kernel_shape", 99);
    Shape pads = list("pads", 99), strides = list("strides", 99), dims(x.dims.begin(), x.dims.begin() + 2);
    pads.resize(2 * taps.size(), 0);
    strides.resize(taps.size(), 1);
    bool const counts_padding = integer(node_, "count_include_pad", 0) != 0;
    for (std::size_t i = 0; i < taps.size(); ++i) {
      dims.push_back((x.dims[i + 2] + pads[i] + pads[i + taps.size()] - taps[i]) / strides[i] + 1);
    }
    TestTensor y(dims);
    TestTensor::for_each_index(dims, [&](Shape const& index) {
      double sum = 0, count = 0, largest = -std::numeric_limits<double>::infinity();
      TestTensor::for_each_index(taps, [&](Shape const& tap) {
        Shape from{index[0], index[1]};
        bool is_inside = true;
        for (std::size_t i = 0; i < taps.size(); ++i) {
          from.push_back(index[i + 2] * strides[i] + tap[i] - pads[i]);
          is_inside = is_inside && from.back() >= 0 && from.back() < x.dims[i + 2];
        }
        if (is_inside || counts_padding) count += 1;
        if (!is_inside) return;
        sum += x.at(from);
        largest = std::max(largest, x.at(from));
      });
      y.at(index) = is_max ? largest : sum / count;
    });
    return y;
  }

  TestTensor averaged() const {
    auto const& x = inputs_[0];
    Shape dims(x.rank(), 1);
    std::copy_n(x.dims.begin(), 2, dims.begin());
    TestTensor y(dims);
    auto const count = static_cast<double>(x.product(2, x.rank()));
    TestTensor::for_each_index(x.dims, [&](Shape const& index) { y.at(index) += x.at(index) / count; });
    return y;
  }

  ::onnx::NodeProto const& node_;
  std::vector<TestTensor> inputs_;
  std::int64_t opset_;
};

}  // namespace foldnorm::testing
