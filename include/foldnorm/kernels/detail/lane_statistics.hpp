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

// P: a pack, a sample in each lane; or double, for one sample.
template <class P>
struct FastStatistics {
  using Mask = decltype(P{} < P{});
  P mean_high, mean_low, rstd;
  Mask near;      // K was close enough to the mean
  Mask in_range;  // nothing left the range of the sums' type, or came near its ends

  bool usable() const {
    if constexpr (std::same_as<Mask, bool>) {
      return near && in_range;
    } else {
      return all_lanes(near & in_range);
    }
  }
};

// Within 2^+-80 neither squares nor reciprocals of floats leave their range; a moment below 2^-40 (moment + eps) would
// leave xhat among the subnormals. (Doubles have room beyond; samples out there are as rare.) NaN is outside.
inline constexpr double largest_variance = 0x1p80;
inline constexpr double smallest_variance = 0x1p-80;
inline constexpr double smallest_moment_share = 0x1p-40;

template <class Norm, class P, class C>
FOLDNORM_INLINE FastStatistics<P> fast_statistics(P shift, P sum, P squares, C inverse_n, C eps) {
  FastStatistics<P> result;
  P const per_feature = inverse_n - P{};
  P moment = squares * per_feature;
  if constexpr (Norm::subtracts_mean) {
    P const d = sum * per_feature;
    moment = multiply_add(-d, d, moment);
    result.near = d * d <= 4 * moment;
    P const mean = shift + d;
    P const d_part = mean - shift;
    result.mean_high = mean;
    result.mean_low = (shift - (mean - d_part)) + (d - d_part);
  } else {
    result.near = P{} == P{};
    result.mean_high = result.mean_low = P{};
  }
  P const variance = moment + eps;
  result.rstd = 1 / square_root(variance);
  result.in_range = (variance >= static_cast<C>(smallest_variance)) & (variance <= static_cast<C>(largest_variance)) &
                    (moment >= static_cast<C>(smallest_moment_share) * variance);
  return result;
}

// One sample a lane, in C: n is a power of two, which 1 / n does not round.
template <class Norm, class C>
FOLDNORM_INLINE FastStatistics<Pack<C>> lane_statistics(LaneSums<C> const& sums, C n, C eps) {
  return fast_statistics<Norm, Pack<C>, C>(sums.shift, sums.sum, sums.squares, 1 / n, eps);
}

// The sample in lane 0, in double: what is rounded here would be wrong by the same factor in all of the sample.
template <class Norm, class C>
FOLDNORM_INLINE FastStatistics<double> one_sample_statistics(LaneSums<C> const& sums, Index n, C eps) {
  return fast_statistics<Norm, double, double>(static_cast<double>(sums.shift[0]), static_cast<double>(sums.sum[0]),
                                               static_cast<double>(sums.squares[0]), 1 / static_cast<double>(n),
                                               static_cast<double>(eps));
}

}  // namespace foldnorm::detail
