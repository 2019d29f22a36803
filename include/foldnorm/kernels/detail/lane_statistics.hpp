// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/lane_statistics.hpp -- from sums to mean and reciprocal deviation, one sample per lane.
//
//   s = x - K:   d = mean(s),   var = mean(s^2) - d^2,   mean = K + d in two words,   rstd = 1 / sqrt(var + eps)
//
// A single pass, and safe while K is close to the mean: the subtraction loses a factor d^2 / var of digits, so samples
// with d^2 > 4 var are measured again with K moved to K + d (docs/numerics.md has the table behind the 4). An RMS norm
// has K = d = 0 and nothing to lose.
#pragma once

#include <foldnorm/kernels/detail/lane_sums.hpp>
#include <foldnorm/kernels/detail/moments.hpp>

namespace foldnorm::detail {

template <class C>
struct LaneSums {
  Pack<C> shift, sum, squares;  // K, sum(x - K), sum((x - K)^2)
};

template <class C>
struct LaneStatistics {
  Pack<C> mean_high, mean_low, rstd;
  PackMask<C> near;      // K was close enough to the mean
  PackMask<C> in_range;  // nothing left the range of C, or came near its ends

  bool usable() const { return all_lanes(near & in_range); }
};

// Within 2^+-80 neither squares nor reciprocals of floats leave their range; a moment below 2^-40 (moment + eps) would
// leave xhat among the subnormals. (Doubles have room beyond; samples out there are as rare.) NaN is outside.
inline constexpr double largest_variance = 0x1p80;
inline constexpr double smallest_variance = 0x1p-80;
inline constexpr double smallest_moment_share = 0x1p-40;

template <class Norm, class C>
FOLDNORM_INLINE LaneStatistics<C> lane_statistics(LaneSums<C> const& sums, C n, C eps) {
  LaneStatistics<C> result;
  Pack<C> const inverse_n = broadcast(1 / n);
  Pack<C> moment = sums.squares * inverse_n;
  if constexpr (Norm::subtracts_mean) {
    Pack<C> const d = sums.sum * inverse_n;
    moment = multiply_add(-d, d, moment);
    result.near = d * d <= 4 * moment;
    Pack<C> const mean = sums.shift + d;
    Pack<C> const d_part = mean - sums.shift;
    result.mean_high = mean;
    result.mean_low = (sums.shift - (mean - d_part)) + (d - d_part);
  } else {
    result.near = Pack<C>{} == Pack<C>{};
    result.mean_high = result.mean_low = Pack<C>{};
  }
  Pack<C> const variance = moment + eps;
  result.rstd = 1 / square_root(variance);
  result.in_range = (variance >= static_cast<C>(smallest_variance)) & (variance <= static_cast<C>(largest_variance)) &
                    (moment >= static_cast<C>(smallest_moment_share) * variance);
  return result;
}

}  // namespace foldnorm::detail
