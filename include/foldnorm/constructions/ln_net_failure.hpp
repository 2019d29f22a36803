// SPDX-License-Identifier: MIT
// foldnorm/constructions/ln_net_failure.hpp -- why there is no certified LN-Net for some samples and labels.
#pragma once

#include <foldnorm/core/config.hpp>

#include <string_view>

namespace foldnorm::inline FOLDNORM_ABI {

// Every one but the first two is precision running out: another attempt, or double instead of float, may succeed.
enum class LnNetFailure {
  nothing,
  equal_samples_differ,   // two samples are equal (in the network's scalar), and their labels are not
  directions_too_coarse,  // no direction that was drawn keeps samples of different labels apart
  samples_merged,         // rounding has put samples of different labels on one point
  corner_lost,            // a sample is so far from the corner of a fold that its height above it rounds to 0
  no_step_left,           // no fold keeps its distance, and nothing can be stretched or compressed
  too_many_layers,        // stretching and compressing did not come to an end
  sample_misclassified    // the network was built, and a sample came out wrong when it was run
};

constexpr std::string_view to_string(LnNetFailure failure) {
  switch (failure) {
    case LnNetFailure::nothing:
      return "nothing";
    case LnNetFailure::equal_samples_differ:
      return "equal samples with different labels";
    case LnNetFailure::directions_too_coarse:
      return "no direction keeps different labels apart";
    case LnNetFailure::samples_merged:
      return "precision exhausted: samples of different labels fell together";
    case LnNetFailure::corner_lost:
      return "precision exhausted: a sample is too far from a fold's corner";
    case LnNetFailure::no_step_left:
      return "precision exhausted: no fold keeps its distance";
    case LnNetFailure::too_many_layers:
      return "precision exhausted: too many layers";
    default:
      return "precision exhausted: a sample is misclassified";
  }
}

}  // namespace foldnorm::inline FOLDNORM_ABI
