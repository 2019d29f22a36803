// SPDX-License-Identifier: MIT
// foldnorm/graph/parameters_to_fold.hpp -- which parameters a fold reads: of a model that is too large to be loaded
// whole.
#pragma once

#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>

#include <functional>
#include <set>
#include <string>

namespace foldnorm::inline FOLDNORM_ABI {

// The parameters that fold_norms needs to carry out a report of this graph: given these alone it returns their new
// values, and those of parameters that it adds. All others keep theirs.
inline std::set<std::string, std::less<>> parameters_to_fold(Graph const& graph, FoldReport const& report) {
  std::set<std::string, std::less<>> names(report.untied.begin(), report.untied.end());
  auto const add_all_of = [&](NodeId node) {
    for (ParameterId const parameter : graph.node(node).parameters) {
      if (parameter.present()) names.insert(graph.parameter(parameter).name);
    }
  };
  for (Centering const& centering : report.centerings) names.insert(centering.parameter);
  for (Composition const& pair : report.compositions) {
    add_all_of(pair.linear);
    add_all_of(pair.scale);
  }
  for (AffineVerdict const& affine : report.affines) {
    if (!affine.moves()) continue;
    add_all_of(affine.norm);
    for (NodeId const reader : affine.readers) add_all_of(reader);
  }
  return names;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
