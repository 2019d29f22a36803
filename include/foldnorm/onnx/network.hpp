// SPDX-License-Identifier: MIT
// foldnorm/onnx/network.hpp -- an ONNX graph as a layer graph, and where in the model each part of it comes from.
#pragma once

#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/onnx/model_index.hpp>
#include <foldnorm/onnx/norm_patterns.hpp>
#include <foldnorm/onnx/tensor_values.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// Where a parameter of the layer graph lies. One that is computed from several (of a BatchNormalization) has no tensor.
struct OnnxParameter {
  std::string tensor;
  OnnxLayout layout;
};

// What a node of the layer graph stands for.
struct OnnxOrigin {
  int node = OnnxIndex::nobody;  // of the model, as OnnxIndex numbers them; the first one where it stands for several
  std::string value;             // what the node computes, if it is the model's value; empty for what only reads one
  std::int64_t axis = 0;         // of the features, counted from the end (-1: the last)
};

// A layer of the model that the layer graph has as one linear or conv.
struct OnnxLayer {
  int node = OnnxIndex::nobody;
  int weight_input = 1;               // which the weight is of the node
  int bias_input = 2;                 // likewise; MatMul has none, but
  int bias_node = OnnxIndex::nobody;  // an Add behind it
};

// A LayerNorm or RMSNorm of the model.
struct OnnxNorm {
  std::optional<NormPattern> pattern;  // written out in operators; else the node is the norm
  int node = OnnxIndex::nobody;        // which makes the normalized value, or all of it
  int gamma_node = OnnxIndex::nobody;  // a Mul behind a pattern
  int beta_node = OnnxIndex::nobody;   // an Add behind that
};

// A LayerNorm of the model that the layer graph has not: it stays as it is.
struct OnnxRefusal {
  int node = OnnxIndex::nobody;
  std::string reason;
};

struct OnnxNetwork {
  Graph graph;                                                // to be analysed; it need not be evaluable
  Parameters parameters;                                      // values of its vectors; weights stay in the file
  std::map<std::string, OnnxParameter, std::less<>> sources;  // by parameter
  std::vector<OnnxOrigin> origins;                            // by node of the layer graph
  std::map<NodeId, OnnxLayer> layers;
  std::map<NodeId, OnnxNorm> norms;
  std::vector<OnnxRefusal> refused;

  OnnxOrigin const& origin(NodeId node) const { return origins[static_cast<std::size_t>(node.index)]; }
};

}  // namespace foldnorm::inline FOLDNORM_ABI
