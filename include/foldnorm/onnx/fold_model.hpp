// SPDX-License-Identifier: MIT
// foldnorm/onnx/fold_model.hpp -- an ONNX model in, a folded one and a report out.
//
//   OnnxFile file("model.onnx");
//   FoldedOnnx folded = fold_onnx_model(file, {.tied = TiedTables::correct});
//   if (folded.changes()) write_onnx_model(out, folded.model); else file.copy_to(out);
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/onnx/infer_shapes.hpp>
#include <foldnorm/onnx/rewrite.hpp>
#include <foldnorm/onnx/to_graph.hpp>

#include <algorithm>
#include <cstddef>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

struct OnnxFoldOptions {
  TiedTables tied = TiedTables::refuse;
  bool affine = false;            // move gammas and betas into the layers that read them, too
  bool insert_centering = false;  // insert centers where they free more norms than they are themselves
  OnnxTarget target = OnnxTarget::onnx;
};

struct FoldedOnnx {
  OnnxNetwork network;
  FoldReport report;
  ::onnx::ModelProto model;  // where something changes

  std::size_t folds() const { return report.folds(); }
  std::size_t norms() const { return report.norms.size() + network.refused.size(); }
  bool changes() const { return folds() > 0 || std::ranges::any_of(report.affines, &AffineVerdict::moves); }
};

namespace detail {

// A center comes behind values of the model that are numbers with a fraction, and nowhere else.
inline PlacementCosts onnx_placement_costs(OnnxNetwork const& network, OnnxShapes const& shapes) {
  constexpr double never = 1e15;  // more than all norms bring
  PlacementCosts costs;
  costs.insertion = [&](Graph const&, NodeId node) {
    OnnxOrigin const& origin = network.origin(node);
    return origin.axis != 0 && is_weight_type(shapes.of(origin.value).type) ? 1.0 : never;
  };
  return costs;
}

}  // namespace detail

// Throws onnx_error as to_graph does, and where a value to be changed is no finite number.
inline FoldedOnnx fold_onnx_model(OnnxFile const& file, OnnxFoldOptions const& options = {}) {
  FoldedOnnx result{to_graph(file), {}, {}};
  FoldOptions fold;
  fold.tied = options.tied;
  fold.affine = options.affine;
  fold.parameters = &result.network.parameters;
  OnnxIndex const index(file);
  OnnxShapes const shapes(file, index);
  if (options.insert_centering) fold.insert_centering = detail::onnx_placement_costs(result.network, shapes);
  result.report = find_foldable_norms(result.network.graph, fold);
  if (!result.changes()) return result;
  try {
    FoldedModel const folded = fold_norms(result.network.graph, result.report, result.network.parameters);
    result.model = rewrite_model(file, result.network, result.report, folded, options.target);
  } catch (std::invalid_argument const& error) {
    detail::raise<onnx_error>(file.name() + ": " + error.what());
  }
  return result;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
