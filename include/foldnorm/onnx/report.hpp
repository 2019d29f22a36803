// SPDX-License-Identifier: MIT
// foldnorm/onnx/report.hpp -- what was folded in an ONNX model, in the model's own names.
//
//   folded 2 of 3
//   fold NORM
//   keep NORM: REASON: NODE_TO_BLAME
//   center TENSOR 768x3072
//   ...
#pragma once

#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/onnx/fold_model.hpp>
#include <foldnorm/onnx/network.hpp>

#include <ostream>
#include <string>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

// The model's node, or else the value, behind a node of the layer graph.
inline std::string onnx_text(OnnxIndex const& index, OnnxNetwork const& network, NodeId id) {
  OnnxOrigin const& origin = network.origin(id);
  if (origin.node != OnnxIndex::nobody) return node_text(index.node(origin.node));
  return node_text(network.graph.node(id));
}

// By norm, as the model has them: of one that is written out, what makes the normalized value.
inline void print_affine(std::ostream& out, OnnxIndex const& index, FoldedOnnx const& folded) {
  for (AffineVerdict const& affine : folded.report.affines) {
    std::string const norm = onnx_text(index, folded.network, affine.norm);
    if (affine.moves()) {
      out << "affine " << norm << '\n';
    } else if (affine.refusal->reason == Reason::left_alone) {
      auto const& reasons = folded.left_alone.contains(affine.norm) ? folded.left_alone : folded.affine_left_alone;
      out << "keep_affine " << norm << ": " << reasons.at(affine.norm) << '\n';
    } else {
      out << "keep_affine " << norm << ": " << to_string(affine.refusal->reason) << ": "
          << onnx_text(index, folded.network, affine.refusal->blame) << '\n';
    }
  }
}

}  // namespace detail

// Reasons are those of docs/folding.md, and for norms that are none in the layer graph a sentence of their own.
inline void print_report(std::ostream& out, OnnxFile const& file, FoldedOnnx const& folded) {
  OnnxNetwork const& network = folded.network;
  FoldReport const& report = folded.report;
  OnnxIndex const index(file);
  auto const text = [&](NodeId id) { return detail::onnx_text(index, network, id); };
  out << "folded " << folded.folds() << " of " << folded.norms() << '\n';
  for (Verdict const& norm : report.norms) {
    if (norm.folds()) {
      out << "fold " << text(norm.norm) << '\n';
    } else if (auto const left = folded.left_alone.find(norm.norm); left != folded.left_alone.end()) {
      out << "keep " << text(norm.norm) << ": " << left->second << '\n';
    } else {
      out << "keep " << text(norm.norm) << ": " << to_string(norm.refusal->reason) << ": " << text(norm.refusal->blame)
          << '\n';
    }
  }
  for (OnnxRefusal const& refused : network.refused) {
    out << "keep " << node_text(index.node(refused.node)) << ": " << refused.reason << '\n';
  }
  for (Centering const& centering : report.centerings) {
    ParameterDescription const& parameter = network.graph.parameter(*network.graph.find_parameter(centering.parameter));
    std::string const& tensor = network.sources.at(centering.parameter).tensor;
    out << "center " << (tensor.empty() ? centering.parameter : tensor) << ' ' << parameter.rows << 'x'
        << parameter.columns << '\n';
  }
  for (std::string const& table : report.untied) out << "untie " << network.sources.at(table).tensor << '\n';
  for (CorrectedHead const& head : report.corrected) out << "correct " << text(head.head) << '\n';
  if (report.placement) {
    for (InsertionSet const& set : report.placement->sets) {
      for (Insertion const& insertion : set.insertions) {
        out << "insert behind " << network.origin(insertion.node).value << '\n';
      }
    }
  }
  detail::print_affine(out, index, folded);
}

}  // namespace foldnorm::inline FOLDNORM_ABI
