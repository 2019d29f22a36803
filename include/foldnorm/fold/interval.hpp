// SPDX-License-Identifier: MIT
// foldnorm/fold/interval.hpp -- a part of an output axis.
#pragma once

#include <foldnorm/core/types.hpp>

#include <compare>

namespace foldnorm::inline FOLDNORM_ABI {

// Half-open, 0-based.
struct Interval {
  Index begin = 0;
  Index end = 0;
  auto operator<=>(Interval const&) const = default;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
