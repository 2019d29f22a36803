// SPDX-License-Identifier: MIT
// foldnorm/graph/fold_options.hpp -- what find_foldable_norms may take for granted, and what it may change.
#pragma once

#include <foldnorm/graph/node.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/graph/placement_costs.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

namespace foldnorm::inline FOLDNORM_ABI {

enum class FoldMode : std::uint8_t { inference, training };

// What to do with an embedding table that is also the weight of a linear (a tied head). In training it is refused, or
// throws: describe a head of its own instead.
enum class TiedTables : std::uint8_t {
  refuse,  // no norm of the stream that the table feeds folds by it
  untie,   // center the embedding's table; the heads keep an unchanged copy
  correct  // center the table, which stays one; the heads add what it has lost: a number per word and token
};

struct FoldOptions {
  FoldMode mode = FoldMode::inference;
  TiedTables tied = TiedTables::refuse;
  // With values, uniform gains, zero-sum shifts and parameters that are centered already, over all of their outputs,
  // are recognised (inference only: training changes values). Without, only what is left out is known to be neutral.
  // Not owned.
  Parameters const* parameters = nullptr;
  // Also move gamma and beta of every norm into the linear layers that read it. Inference only.
  bool affine = false;
  // Also insert center nodes where they free norms worth more than they cost.
  std::optional<PlacementCosts> insert_centering = {};
  // Of a parameter that `parameters` has not: is each of its columns known to sum to zero? For weights that are read
  // when they are asked for. Inference only.
  std::function<bool(std::string const&)> is_centered = {};
  // Norms that are to stay as they are, whatever else folds: nothing is centered for them, and gamma and beta stay.
  std::set<NodeId> leave_alone = {};
};

}  // namespace foldnorm::inline FOLDNORM_ABI
