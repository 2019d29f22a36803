// SPDX-License-Identifier: MIT
// onnx/repeat_norms.hpp -- an ONNX model whose norms are computed several times, one behind the other: a way to time
// them.
#pragma once

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace foldnorm::onnx_models {

// Behind every norm follow `extra` more with its gamma, beta and eps, each of what the one before gave. Other values
// come out, but all that is computed takes as long. (Not the same norm of the same value: those ONNX Runtime merges.)
// Norms are the operators LayerNormalization, SimplifiedLayerNormalization and RMSNormalization, and the first two with
// ONNX Runtime's Skip in front, which add a residual first; in primitives they are not recognised. Returns how many
// there were.
inline int repeat_norms(onnx::GraphProto& graph, int extra) {
  static constexpr std::array<std::string_view, 5> norms{"LayerNormalization", "SimplifiedLayerNormalization",
                                                         "RMSNormalization", "SkipLayerNormalization",
                                                         "SkipSimplifiedLayerNormalization"};
  int count = 0;
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    bool const is_norm = std::ranges::find(norms, node.op_type()) != norms.end();
    std::string const output = is_norm ? node.output(0) : std::string();
    onnx::NodeProto next = node;  // of what is computed already
    *nodes.Add() = std::move(node);
    if (!is_norm) continue;
    ++count;
    next.mutable_output()->DeleteSubrange(1, next.output_size() - 1);  // mean and deviation stay those of the first
    for (int i = 0; i < extra; ++i) {
      std::string const between = output + ":repeated" + std::to_string(i);
      nodes.rbegin()->set_output(0, between);
      next.set_name(between);
      next.set_input(0, between);
      next.set_output(0, output);
      *nodes.Add() = next;
    }
  }
  graph.mutable_node()->Swap(&nodes);
  return count;
}

}  // namespace foldnorm::onnx_models
