// SPDX-License-Identifier: MIT
// onnx/certificate.hpp -- runs an ONNX model and its fold in ONNX Runtime on the same inputs, and says how far apart
// they are.
//
// Where an output is that of an activation which saturates (a softmax, say), a large difference may hide behind it; so
// what it reads is compared, too. Printed with <<:
//   difference OUTPUT ABSOLUTE RELATIVE
//   difference OUTPUT:ACTIVATION ABSOLUTE RELATIVE    in front of the activation
#pragma once

#include "model_inputs.hpp"
#include "onnx_runtime.hpp"

#include <foldnorm/onnx/model_file.hpp>

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <exception>
#include <filesystem>
#include <map>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foldnorm::onnx_models {

// Sums of up to 50,000 products in up to 50 layers in float: 1e-4 of the largest output is rounding; a wrong fold is
// wrong by its size.
inline constexpr double largest_rounding = 1e-3;

// Where the original can be run, its fold cannot, or has other inputs or outputs.
struct folded_model_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct ValueDifference {
  std::string value;    // OUTPUT, or OUTPUT:ACTIVATION
  double absolute = 0;  // largest |folded - original|
  double relative = 0;  // that, over the largest finite |original| of this value (0 if both are 0)
};

struct OnnxCertificate {
  std::vector<ValueDifference> values;

  // The largest relative difference; NaN if any is.
  double largest_difference() const {
    double largest = 0;
    for (ValueDifference const& value : values) {
      if (std::isnan(value.relative)) return value.relative;
      largest = std::max(largest, value.relative);
    }
    return largest;
  }
};

inline std::ostream& operator<<(std::ostream& out, OnnxCertificate const& certificate) {
  for (ValueDifference const& value : certificate.values) {
    out << "difference " << value.value << ' ' << value.absolute << ' ' << value.relative << '\n';
  }
  return out;
}

namespace detail {

// The node that computes a value, behind nodes that only pass it on; null if that is an input or initializer.
inline onnx::NodeProto const* producer(onnx::GraphProto const& graph, std::string const& value) {
  static constexpr std::array<std::string_view, 6> passes_on{"Identity", "Reshape",   "Flatten",
                                                             "Squeeze",  "Unsqueeze", "Transpose"};
  for (std::string name = value;;) {
    auto const node = std::ranges::find_if(graph.node(), [&](onnx::NodeProto const& candidate) {
      return std::ranges::find(candidate.output(), name) != candidate.output().end();
    });
    if (node == graph.node().end()) return nullptr;
    if (std::ranges::find(passes_on, node->op_type()) == passes_on.end()) return &*node;
    name = node->input(0);
  }
}

// Makes what activations at the outputs read outputs, too: OUTPUT:ACTIVATION to the value's name.
inline std::map<std::string, std::string> expose_arguments(onnx::GraphProto& graph) {
  static constexpr std::array<std::string_view, 6> saturates{"Softmax", "LogSoftmax", "Sigmoid",
                                                             "Tanh",    "Clip",       "HardSigmoid"};
  std::map<std::string, std::string> exposed;
  for (int i = 0, count = graph.output_size(); i < count; ++i) {
    std::string const output = graph.output(i).name();
    onnx::NodeProto const* const node = producer(graph, output);
    if (!node || std::ranges::find(saturates, node->op_type()) == saturates.end()) continue;
    std::string const argument = node->input(0);
    if (!producer(graph, argument)) continue;
    exposed.emplace(output + ":" + node->op_type(), argument);
    if (std::ranges::find(graph.output(), argument, &onnx::ValueInfoProto::name) == graph.output().end()) {
      graph.add_output()->set_name(argument);
    }
  }
  return exposed;
}

// A model with what its activations read, loaded.
class ExposedModel {
 public:
  // folder: where the tensors lie that the model keeps outside.
  ExposedModel(onnx::ModelProto model, std::filesystem::path const& folder, int threads)
      : outputs_(output_names(model.graph())),
        exposed_(expose_arguments(*model.mutable_graph())),
        session_(onnx_runtime::Session::from_bytes(
            model.SerializeAsString(),
            {.threads = threads, .data_folder = std::filesystem::absolute(folder).string()})) {}

  onnx_runtime::Session const& session() const { return session_; }
  std::vector<std::string> const& outputs() const { return outputs_; }

  std::map<std::string, Tensor> run(std::map<std::string, Tensor>& inputs) const {
    onnx_runtime::Call call(session_);
    for (auto& [name, value] : inputs) call.input(name, value.type, value.shape, value.bytes.data());
    std::vector<std::string> labels;
    for (std::string const& name : outputs_) {
      labels.push_back(name);
      call.output(name);
    }
    for (auto const& [label, name] : exposed_) {
      if (std::ranges::find(outputs_, name) != outputs_.end()) continue;  // is compared as an output
      labels.push_back(label);
      call.output(name);
    }
    call.run();
    std::map<std::string, Tensor> results;
    for (std::size_t i = 0; i < labels.size(); ++i) results.emplace(labels[i], call.result(i));
    return results;
  }

 private:
  static std::vector<std::string> output_names(onnx::GraphProto const& graph) {
    std::vector<std::string> names;
    for (onnx::ValueInfoProto const& output : graph.output()) names.push_back(output.name());
    return names;
  }

  std::vector<std::string> outputs_;
  std::map<std::string, std::string> exposed_;
  onnx_runtime::Session session_;
};

inline std::vector<double> values_of(Tensor const& tensor) {
  return with_scalar(tensor.type, [&]<class Scalar>(Scalar value) {
    std::vector<double> values(tensor.bytes.size() / sizeof(Scalar));
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::memcpy(&value, tensor.bytes.data() + i * sizeof(Scalar), sizeof(Scalar));
      values[i] = static_cast<double>(value);
    }
    return values;
  });
}

// Equal infinities (of masks) are no difference; a NaN on either side is one, NaN.
inline ValueDifference difference(std::string const& name, Tensor const& original, Tensor const& folded) {
  if (original.shape != folded.shape || original.type != folded.type) {
    throw folded_model_error("certify_onnx: " + name + " has another type or size in the folded model");
  }
  std::vector<double> const before = values_of(original), after = values_of(folded);
  double absolute = 0, size = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    double const apart = before[i] == after[i] ? 0 : std::abs(after[i] - before[i]);
    if (!(apart <= absolute)) absolute = apart;
    if (std::isnan(absolute)) break;
    if (std::isfinite(before[i])) size = std::max(size, std::abs(before[i]));
  }
  return {name, absolute, absolute == 0 ? 0 : absolute / size};
}

inline bool same_tensor(TensorInfo const& a, TensorInfo const& b) {
  return a.name == b.name && a.type == b.type && a.shape == b.shape;
}

}  // namespace detail

struct LocatedModel {
  onnx::ModelProto const& model;
  std::filesystem::path folder;  // of the tensors that it keeps outside
};

namespace detail {

// What the fold makes of the original's inputs.
inline std::map<std::string, Tensor> run_folded(LocatedModel const& folded, ExposedModel const& original,
                                                std::map<std::string, Tensor>& values, int threads) {
  try {
    ExposedModel const model(folded.model, folded.folder, threads);
    if (!std::ranges::is_permutation(original.session().inputs(), model.session().inputs(), same_tensor)) {
      throw folded_model_error("certify_onnx: the models have different inputs");
    }
    if (!std::ranges::is_permutation(original.outputs(), model.outputs())) {
      throw folded_model_error("certify_onnx: the models have different outputs");
    }
    return model.run(values);
  } catch (std::exception const& error) {
    throw folded_model_error(error.what());
  }
}

}  // namespace detail

// Both models on the same inputs, random where none are given (model_inputs.hpp). In exact arithmetic every difference
// is zero; in float it is rounding, some 1e-5 relative for a network of ordinary depth. What is compared beside the
// outputs is read out of copies. Throws std::invalid_argument if the options do not fit the original,
// std::runtime_error with ONNX Runtime's message if that cannot be run, and folded_model_error.
inline OnnxCertificate certify_onnx(LocatedModel const& original, LocatedModel const& folded,
                                    InputOptions const& options = {}, int threads = 1) {
  detail::ExposedModel const model(original.model, original.folder, threads);
  std::map<std::string, Tensor> values = model_inputs(model.session().inputs(), options);
  std::map<std::string, Tensor> const expected = model.run(values);
  std::map<std::string, Tensor> const actual = detail::run_folded(folded, model, values, threads);
  OnnxCertificate certificate;
  for (auto const& [name, value] : expected) {
    auto const found = actual.find(name);
    if (found != actual.end()) certificate.values.push_back(detail::difference(name, value, found->second));
  }
  return certificate;
}

// The same of two files. Throws onnx_error, too, as OnnxFile does.
inline OnnxCertificate certify_onnx(std::filesystem::path const& original, std::filesystem::path const& folded,
                                    InputOptions const& options = {}, int threads = 1) {
  OnnxFile const before(original), after(folded);
  return certify_onnx(LocatedModel{before.model(), before.folder()}, LocatedModel{after.model(), after.folder()},
                      options, threads);
}

}  // namespace foldnorm::onnx_models
