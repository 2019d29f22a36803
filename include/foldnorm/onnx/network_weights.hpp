// SPDX-License-Identifier: MIT
// foldnorm/onnx/network_weights.hpp -- values of a network's parameters, read from the model's file when they are asked
// for.
#pragma once

#include <foldnorm/fold/centering.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/onnx/model_index.hpp>
#include <foldnorm/onnx/network.hpp>
#include <foldnorm/onnx/tensor_values.hpp>

#include <string>
#include <unordered_map>
#include <variant>

namespace foldnorm::inline FOLDNORM_ABI {

class NetworkWeights {
 public:
  // None of them is owned.
  NetworkWeights(OnnxFile const& file, OnnxIndex const& index, OnnxNetwork const& network)
      : file_(file), index_(index), network_(network) {}

  // Throws onnx_error as read_tensor does. Precondition: it is a parameter of the network.
  ParameterValue read(std::string const& name) const {
    if (network_.parameters.contains(name)) return network_.parameters.at(name);
    OnnxParameter const& source = network_.sources.at(name);
    return read_tensor(*index_.constant(source.tensor), source.layout, file_);
  }

  // Does each column sum to zero? Read once, and remembered.
  bool are_centered(std::string const& name) {
    auto const [known, is_new] = are_centered_.try_emplace(name, false);
    if (is_new) {
      known->second = std::visit([](auto const& matrix) { return is_centered(matrix); }, read(name));
    }
    return known->second;
  }

 private:
  OnnxFile const& file_;
  OnnxIndex const& index_;
  OnnxNetwork const& network_;
  std::unordered_map<std::string, bool> are_centered_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
