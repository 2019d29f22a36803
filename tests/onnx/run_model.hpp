// SPDX-License-Identifier: MIT
// tests/onnx/run_model.hpp -- what ONNX Runtime makes of a model, in the terms of a layer graph.
#pragma once

#include "onnx/onnx_runtime.hpp"
#include "onnx/reference_interpreter.hpp"

#include <foldnorm/graph/evaluate.hpp>
#include <foldnorm/onnx/write_model.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"

namespace foldnorm::testing {

// Whether there is an ONNX Runtime; says so if not. Those tests then end with what needs none.
inline bool has_onnx_runtime() {
  if (onnx_runtime::is_available()) return true;
  WARN("skipped: there is no ONNX Runtime");
  return false;
}

// The outputs on these inputs, by name.
inline NamedValues run_model(onnx_runtime::Session const& session, NamedValues const& inputs) {
  onnx_runtime::Call call(session);
  std::vector<Matrix<float>> values;
  std::vector<std::vector<std::int64_t>> ids;
  values.reserve(inputs.size());  // their memory stays where it is
  ids.reserve(inputs.size());
  for (onnx_runtime::TensorInfo const& info : session.inputs()) {
    Matrix<double> const& x = inputs.at(info.name);
    if (info.type == onnx_runtime::Type::i64) {
      ids.emplace_back(x.data(), x.data() + x.size());
      call.input(info.name, info.type, {x.cols()}, ids.back().data());
    } else {
      values.push_back(x.cast<float>());
      call.input(info.name, info.type, {x.cols(), x.rows()}, values.back().data());
    }
  }
  std::vector<onnx_runtime::TensorInfo> const outputs = session.outputs();
  for (onnx_runtime::TensorInfo const& info : outputs) call.output(info.name);
  call.run();
  NamedValues results;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    onnx_runtime::Tensor const result = call.result(i);
    Eigen::Map<Matrix<float> const> const value(reinterpret_cast<float const*>(result.bytes.data()), result.shape.at(1),
                                                result.shape.at(0));
    results.emplace(outputs[i].name, value.cast<double>());
  }
  return results;
}
inline NamedValues run_model(onnx::ModelProto const& model, NamedValues const& inputs) {
  return run_model(onnx_runtime::Session::from_bytes(model.SerializeAsString()), inputs);
}

// The same by this project's own interpreter, in double.
inline NamedValues interpret_model(onnx::ModelProto const& model, NamedValues const& inputs) {
  TestTensors tensors;
  for (onnx::ValueInfoProto const& info : model.graph().input()) {
    Matrix<double> const& x = inputs.at(info.name());
    bool const are_ids = info.type().tensor_type().shape().dim_size() == 1;
    TestTensor tensor(are_ids ? TestTensor::Shape{x.cols()} : TestTensor::Shape{x.cols(), x.rows()});
    tensor.values.assign(x.data(), x.data() + x.size());
    tensors.emplace(info.name(), std::move(tensor));
  }
  NamedValues results;
  for (auto const& [name, tensor] : ReferenceInterpreter(model).run(tensors)) {
    results.emplace(name, Eigen::Map<Matrix<double> const>(tensor.values.data(), tensor.dims.at(1), tensor.dims.at(0)));
  }
  return results;
}

// The largest |difference| of an output over its largest value; infinity if the names or shapes are others.
inline double relative_error(NamedValues const& actual, NamedValues const& expected) {
  double largest = 0;
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  for (auto const& [name, value] : expected) {
    auto const found = actual.find(name);
    if (found == actual.end() || found->second.rows() != value.rows() || found->second.cols() != value.cols()) {
      return std::numeric_limits<double>::infinity();
    }
    double const difference = (found->second - value).cwiseAbs().maxCoeff();
    if (std::isnan(difference)) return difference;
    largest = std::max(largest, difference == 0 ? 0 : difference / value.cwiseAbs().maxCoeff());
  }
  return largest;
}

}  // namespace foldnorm::testing
