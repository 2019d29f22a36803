// SPDX-License-Identifier: MIT
// foldnorm/onnx/fold_model.hpp -- an ONNX model in, a folded one and a report out.
//
//   OnnxFile file("model.onnx");
//   FoldedOnnx folded = fold_onnx_model(file, {.tied = TiedTables::correct});
//   if (folded.changes()) write_onnx_model(out, folded.model); else file.copy_to(out);
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/known_values.hpp>
#include <foldnorm/onnx/external_writer.hpp>
#include <foldnorm/onnx/infer_shapes.hpp>
#include <foldnorm/onnx/network_weights.hpp>
#include <foldnorm/onnx/rewrite.hpp>
#include <foldnorm/onnx/slower_norms.hpp>
#include <foldnorm/onnx/to_graph.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

struct OnnxFoldOptions {
  TiedTables tied = TiedTables::refuse;
  bool affine = false;            // move gammas and betas into the layers that read them, too
  bool insert_centering = false;  // insert centers where they free more norms than they are themselves
  bool fold_slower = false;       // fold norms, too, that are faster as they are (slower_norms.hpp)
  OnnxTarget target = OnnxTarget::onnx;
};

struct FoldedOnnx {
  OnnxNetwork network;
  FoldReport report;
  std::map<NodeId, std::string> left_alone;  // norms that would fold and are faster as they are, and why
  ::onnx::ModelProto model;                  // where something changes

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

// Of the norms that fold, those that are faster as they are. Whatever else folds, moves or is centered may hang on
// them, so that the analysis begins again without them, until there are none.
inline void leave_slower_norms_alone(FoldedOnnx& result, FoldOptions& fold, OnnxTarget target, std::int64_t opset) {
  Graph const& graph = result.network.graph;
  KnownValues const values(graph, &result.network.parameters);
  for (bool is_done = false; !is_done;) {
    std::set<NodeId> keep_beta;
    for (auto const& [id, norm] : result.network.norms) {
      Node const& node = graph.node(id);
      if (!values.is_zero(node.parameter(Key::beta), 0, node.features)) keep_beta.insert(id);
    }
    for (AffineVerdict const& affine : result.report.affines) {
      if (affine.moves()) keep_beta.erase(affine.norm);
    }
    is_done = true;
    for (Verdict const& verdict : result.report.norms) {
      if (!verdict.folds()) continue;
      char const* const why =
          why_slower(result.network.norms.at(verdict.norm), result.network.origin(verdict.norm).axis,
                     keep_beta.contains(verdict.norm), target, opset);
      if (!why) continue;
      result.left_alone.emplace(verdict.norm, why);
      fold.leave_alone.insert(verdict.norm);
      is_done = false;
    }
    if (!is_done) result.report = find_foldable_norms(graph, fold);
  }
}

}  // namespace detail

// Where tensors lie outside of the model and change, they go to `data`, if given, else they come into the model.
// Throws onnx_error as to_graph does, and where a value to be changed is no finite number; what the writer throws.
inline FoldedOnnx fold_onnx_model(OnnxFile const& file, OnnxFoldOptions const& options = {},
                                  ExternalWriter* data = nullptr) {
  FoldedOnnx result{to_graph(file), {}, {}, {}};
  OnnxIndex const index(file);
  OnnxShapes const shapes(file, index);
  NetworkWeights weights(file, index, result.network);
  FoldOptions fold;
  fold.tied = options.tied;
  fold.affine = options.affine;
  fold.parameters = &result.network.parameters;
  fold.is_centered = [&](std::string const& name) { return weights.are_centered(name); };
  if (options.insert_centering) fold.insert_centering = detail::onnx_placement_costs(result.network, shapes);
  result.report = find_foldable_norms(result.network.graph, fold);
  if (!options.fold_slower) {
    detail::leave_slower_norms_alone(result, fold, options.target, standard_opset(file.model()));
  }
  if (!result.changes()) return result;
  try {
    result.model = rewrite_model(file, result.network, result.report, options.target, data);
  } catch (std::invalid_argument const& error) {
    detail::raise<onnx_error>(file.name() + ": " + error.what());
  }
  return result;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
