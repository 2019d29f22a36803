// SPDX-License-Identifier: MIT
// training/quartiles.hpp -- the middle of repeated measurements, and how far they scatter.
#pragma once

#include <algorithm>
#include <vector>

namespace foldnorm::training {

struct Quartiles {
  double lower = 0, median = 0, upper = 0;
};

// Precondition: not empty.
inline Quartiles quartiles(std::vector<double> values) {
  std::ranges::sort(values);
  auto const at = [&](std::size_t quarter) { return values[(values.size() - 1) * quarter / 4]; };
  return {at(1), at(2), at(3)};
}

}  // namespace foldnorm::training
