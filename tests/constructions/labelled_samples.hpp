// SPDX-License-Identifier: MIT
// tests/constructions/labelled_samples.hpp -- samples and labels to be classified.
#pragma once

#include <foldnorm/constructions/detail/directions.hpp>
#include <foldnorm/core/types.hpp>

#include <cstdint>
#include <random>
#include <vector>

namespace foldnorm::testing {

struct LabelledSamples {
  Matrix<double> x;
  std::vector<int> labels;
};

// Normal samples with fair coins (dice) for labels.
inline LabelledSamples random_labels(Index features, Index m, std::uint64_t seed, int classes = 2) {
  std::mt19937_64 random(seed);
  LabelledSamples data{Matrix<double>(features, m), {}};
  data.x = Matrix<double>::NullaryExpr(features, m, [&] { return detail::normal_draw(random); });
  for (Index j = 0; j < m; ++j) {
    data.labels.push_back(static_cast<int>((random() >> 32) % static_cast<std::uint64_t>(classes)));
  }
  return data;
}

// 0, 1, ..., m - 1 with labels 0, 1, 0, 1, ...
inline LabelledSamples alternating(Index m) {
  LabelledSamples data{Vector<double>::LinSpaced(m, 0, static_cast<double>(m - 1)).transpose(), {}};
  for (Index j = 0; j < m; ++j) data.labels.push_back(static_cast<int>(j % 2));
  return data;
}

}  // namespace foldnorm::testing
