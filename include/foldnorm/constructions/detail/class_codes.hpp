// SPDX-License-Identifier: MIT
// foldnorm/constructions/detail/class_codes.hpp -- labels as classes 0, 1, ..., and classes as bits.
#pragma once

#include <foldnorm/constructions/detail/runs.hpp>
#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace foldnorm::detail {

struct Classes {
  std::vector<int> labels;  // ascending: of class 0, 1, ...
  std::vector<std::size_t> of_sample;

  std::size_t bits() const { return std::max<std::size_t>(1, std::bit_width(labels.size() - 1)); }
};

inline Classes classes_of(std::vector<int> const& labels) {
  Classes classes{labels, {}};
  std::sort(classes.labels.begin(), classes.labels.end());
  classes.labels.erase(std::unique(classes.labels.begin(), classes.labels.end()), classes.labels.end());
  for (int const label : labels) {
    auto const place = std::lower_bound(classes.labels.begin(), classes.labels.end(), label);
    classes.of_sample.push_back(static_cast<std::size_t>(place - classes.labels.begin()));
  }
  return classes;
}

inline bool code_bit(std::size_t code, std::size_t bit) { return (code >> bit & 1) != 0; }

inline Bits bits_of(Classes const& classes, std::size_t bit) {
  Bits bits;
  for (std::size_t const code : classes.of_sample) bits.push_back(code_bit(code, bit));
  return bits;
}

// Two equal samples (columns) of different classes, if there are any. No network can tell them apart.
template <real_scalar Scalar>
std::optional<std::pair<Index, Index>> equal_samples_differ(ConstMatrixRef<Scalar> const& samples,
                                                            Classes const& classes) {
  std::vector<Index> order(static_cast<std::size_t>(samples.cols()));
  std::iota(order.begin(), order.end(), Index{0});
  auto const less = [&](Index i, Index j) {
    for (Index k = 0; k < samples.rows(); ++k)
      if (samples(k, i) != samples(k, j)) return samples(k, i) < samples(k, j);
    return false;
  };
  std::sort(order.begin(), order.end(), less);
  auto const class_of = [&](Index i) { return classes.of_sample[static_cast<std::size_t>(i)]; };
  for (std::size_t k = 1; k < order.size(); ++k) {
    Index const i = order[k - 1], j = order[k];
    if (!less(i, j) && class_of(i) != class_of(j)) return std::minmax({i, j});
  }
  return std::nullopt;
}

}  // namespace foldnorm::detail
