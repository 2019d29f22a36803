// SPDX-License-Identifier: MIT
// training/fold_model.hpp -- a trained model through the library's fold: described, judged, folded, and put back.
//
// A model has: parameters (NamedMatrices), norms (of Norm), and describe() -> Graph.
#pragma once

#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/parameters.hpp>

#include "named_matrices.hpp"
#include "norm.hpp"

#include <algorithm>
#include <stdexcept>

namespace foldnorm::training {

// In the type in which the model trains, or another one.
template <real_scalar Stored, real_scalar Scalar>
Parameters to_parameters(NamedMatrices<Scalar> const& matrices) {
  Parameters parameters;
  for (auto const& [name, matrix] : matrices) parameters.set(name, matrix.template cast<Stored>());
  return parameters;
}

// The model with the folded parameters, and RMSNorm where the report folds; the forward code is the same.
// Throws std::logic_error if that is not the network that the folded graph describes.
template <class Model>
Model with_fold(Model model, FoldReport const& report, FoldedModel const& folded) {
  for (auto& [name, matrix] : model.parameters) matrix = folded.parameters.get<typename Model::Scalar>(name);
  for (Verdict const& verdict : report.norms) {
    auto const norm = std::ranges::find(model.norms, verdict.name, &Norm::name);
    if (norm != model.norms.end() && verdict.folds()) norm->kind = NormKind::rms_norm;
  }
  if (!(model.describe() == folded.graph)) throw std::logic_error("with_fold: the model is not the folded graph");
  return model;
}

}  // namespace foldnorm::training
