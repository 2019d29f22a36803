// SPDX-License-Identifier: MIT
// foldnorm/fold/float_fibres.hpp -- fibres of floats that lie end to end, centered at about the speed of memory.
//
// Doubles hold such sums: n of them are off by at most n 2^-53 of the sum of magnitudes, and the bound for a balanced
// fibre is 2^-24 of it. So equal entries, whose sum is exact below 2^29 of them, become exact zeros.
#pragma once

#include <foldnorm/core/pack.hpp>
#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

typedef float WidenedFloats __attribute__((vector_size(pack_bytes / 2)));  // as many as a pack of doubles holds

// Magnitudes as integers: in the order of the numbers, a NaN above all.
template <class Floats>
using Magnitudes = decltype(Floats{} < Floats{});

template <class Floats>
FOLDNORM_INLINE auto larger(Magnitudes<Floats> largest, Floats values) {
  Magnitudes<Floats> now;
  std::memcpy(&now, &values, sizeof now);
  now &= std::numeric_limits<std::int32_t>::max();
  return largest > now ? largest : now;
}
inline std::int32_t larger(std::int32_t largest, float value) {
  return std::max(largest, std::bit_cast<std::int32_t>(std::abs(value)));
}

// Is every |value| at most this? False where there is a NaN.
inline bool are_within(std::span<float const> values, float most) {
  constexpr std::size_t step = static_cast<std::size_t>(width<float>);
  Magnitudes<FloatPack> packs[2] = {};
  std::int32_t largest = 0;
  std::size_t i = 0;
  for (; i + 2 * step <= values.size(); i += 2 * step) {
    packs[0] = larger(packs[0], load(values.data() + i));
    packs[1] = larger(packs[1], load(values.data() + i + step));
  }
  for (std::size_t lane = 0; lane < step; ++lane) largest = std::max({largest, packs[0][lane], packs[1][lane]});
  for (; i < values.size(); ++i) largest = larger(largest, values[i]);
  return largest <= std::bit_cast<std::int32_t>(most);
}

struct FloatSum {
  double sum = 0;
  float largest = 0;  // magnitude
  // As is_balanced of centering.hpp, at the type's unit roundoff.
  bool is_balanced(std::size_t count) const {
    return std::abs(sum) <= static_cast<double>(count) * 0x1p-24 * static_cast<double>(largest);
  }
};

// What is there; or, if it subtracts, takes `mean` from each value, in double and rounded once, and sums what is there
// then: `largest` is 0.
template <bool subtracts>
FloatSum measure_floats(std::span<float> values, double mean = 0) {
  constexpr std::size_t step = static_cast<std::size_t>(width<double>);
  constexpr int chains = 4;  // that wait for no other's sum
  DoublePack const means = broadcast(mean);
  DoublePack sums[chains] = {};
  Magnitudes<WidenedFloats> largest[chains] = {};
  std::size_t i = 0;
  for (; i + chains * step <= values.size(); i += chains * step) {
    unrolled<chains>([&](int k) FOLDNORM_INLINE_LAMBDA {
      float* const at = values.data() + i + static_cast<std::size_t>(k) * step;
      WidenedFloats now;
      std::memcpy(&now, at, sizeof now);
      DoublePack wide = __builtin_convertvector(now, DoublePack);
      prefetch(at + 2048);  // of fibres to come: further on than the hardware looks
      if constexpr (subtracts) {
        now = __builtin_convertvector(wide - means, WidenedFloats);
        wide = __builtin_convertvector(now, DoublePack);
        std::memcpy(at, &now, sizeof now);
      }
      sums[k] += wide;
      if constexpr (!subtracts) largest[k] = larger(largest[k], now);
    });
  }
  double sum = 0;
  std::int32_t most = 0;
  for (std::size_t lane = 0; lane < step; ++lane) {
    for (int k = 0; k < chains; ++k) {
      sum += sums[k][lane];
      most = std::max(most, largest[k][lane]);
    }
  }
  for (; i < values.size(); ++i) {
    if constexpr (subtracts) values[i] = static_cast<float>(static_cast<double>(values[i]) - mean);
    sum += static_cast<double>(values[i]);
    if constexpr (!subtracts) most = larger(most, values[i]);
  }
  return {sum, std::bit_cast<float>(most)};
}

// As center_part of centering.hpp, in place; `now` is what measure_floats says of the values. Precondition (ours): they
// are finite, and fit when centered.
inline void center_floats(std::span<float> values, FloatSum now) {
  constexpr int most_rounds = 4;
  for (int round = 0; round < most_rounds && !now.is_balanced(values.size()); ++round) {
    double const mean = now.sum / static_cast<double>(values.size());
    // What the largest becomes has at least this magnitude, less roundings: to look for it would cost a fifth more.
    double const left = 0.99 * (static_cast<double>(now.largest) - std::abs(mean));
    now = measure_floats<true>(values, mean);
    now.largest = static_cast<float>(left);
  }
}

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
