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
  bool fold_slower = false;       // change norms, too, that are faster as they are (slower_norms.hpp)
  OnnxTarget target = OnnxTarget::onnx;
};

struct FoldedOnnx {
  OnnxNetwork network;
  FoldReport report;
  std::map<NodeId, std::string> left_alone;         // norms that would fold and are faster as they are, and why
  std::map<NodeId, std::string> affine_left_alone;  // likewise, of others, whose gamma and beta would move
  ::onnx::ModelProto model;                         // where something changes

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

// What the report does to each norm that it changes.
inline std::map<NodeId, NormFate> norm_fates(OnnxNetwork const& network, FoldReport const& report) {
  Graph const& graph = network.graph;
  KnownValues const values(graph, &network.parameters);
  std::map<NodeId, NormFate> fates;
  for (Verdict const& verdict : report.norms) {
    if (!verdict.folds()) continue;
    Node const& node = graph.node(verdict.norm);
    fates[verdict.norm].loses_mean = true;
    fates[verdict.norm].keeps_beta = !values.is_zero(node.parameter(Key::beta), 0, node.features);
  }
  for (AffineVerdict const& affine : report.affines) {
    if (!affine.moves()) continue;
    NormFate& fate = fates[affine.norm];
    fate.loses_gamma = graph.node(affine.norm).parameter(Key::gamma).present();
    fate.keeps_beta = false;
    fate.adds_bias = affine.shifts && std::ranges::any_of(affine.readers, [&](NodeId reader) {
                       Node const& node = graph.node(reader);  // convolutions add theirs as they go
                       return node.op == Operator::linear && !node.parameter(Key::bias).present();
                     });
  }
  return fates;
}

// Of the norms that change, those that are faster as they are. Whatever else folds, moves or is centered may hang on
// them, so that the analysis begins again without them, until there are none.
inline void leave_slower_norms_alone(FoldedOnnx& result, FoldOptions& fold, OnnxTarget target, std::int64_t opset) {
  OnnxNetwork const& network = result.network;
  for (bool is_done = false; !is_done;) {
    is_done = true;
    for (auto const& [id, fate] : norm_fates(network, result.report)) {
      char const* const why = why_slower(network.norms.at(id), network.origin(id).axis, fate, target, opset);
      if (!why) continue;
      (fate.loses_mean ? result.left_alone : result.affine_left_alone).emplace(id, why);
      fold.leave_alone.insert(id);
      is_done = false;
    }
    if (!is_done) result.report = find_foldable_norms(network.graph, fold);
  }
}

}  // namespace detail

// Where tensors lie outside of the model and change, they go to `data`, if given, else they come into the model.
// Throws onnx_error as to_graph does, and where a value to be changed is no finite number; what the writer throws.
inline FoldedOnnx fold_onnx_model(OnnxFile const& file, OnnxFoldOptions const& options = {},
                                  ExternalWriter* data = nullptr) {
  FoldedOnnx result{to_graph(file), {}, {}, {}, {}};
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
