// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/moments.hpp -- exact statistics of one sample: mean in two words, biased variance, mean
// square.
//
//   K = x[0],   mean = K + mean(x - K),   var = mean((x - mean)^2)
//
// Two passes. Shifting by K = x[0] makes constant samples exact (every term is 0). No one-pass mean(x^2) - mean(x)^2:
// at mean 1e3 it has lost the variance in float, and clipping the negative result only hides that.
//
// A sample is anything with sample(i) == its feature i as float or double. This is the accurate mode, and where the
// fast mode takes the samples that leave its range.
#pragma once

#include <foldnorm/kernels/detail/sums.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <type_traits>

namespace foldnorm::detail {

// What differs between the two norms: whether the mean is taken away before the second moment.
struct LayerNormPolicy {
  static constexpr bool subtracts_mean = true;
};
struct RMSNormPolicy {
  static constexpr bool subtracts_mean = false;
};

template <class Sample>
using ValueOf = std::remove_cvref_t<std::invoke_result_t<Sample const&, Index>>;

// x * scale as a double, whose range holds all squares of floats: only samples of doubles ever need the scale.
inline double scaled(float x, double) { return static_cast<double>(x); }
inline double scaled(double x, double scale) { return x * scale; }

// x * scale - mean, with the mean in two words.
template <real_scalar C>
double deviation(C x, SampleStatistics const& s) {
  return (scaled(x, s.scale) - s.mean_high) - s.mean_low;
}

// Writes the mean of x * scale into s.
template <class Sample>
void find_mean(Sample const& x, Index n, SampleStatistics& s) {
  double const shift = scaled(x(0), s.scale);
  TwoWords const sum = sum_terms<ValueOf<Sample>>(
      n, [&](auto& to, Index i, int lane) { to.add_difference(lane, scaled(x(i), s.scale), shift); });
  TwoWords const d = divide(sum, static_cast<double>(n));
  TwoWords const mean = two_sum(shift, d.high);
  s.mean_high = mean.high;
  s.mean_low = mean.low + d.low;
}

template <class Sample>
double largest_magnitude(Sample const& x, Index n) {
  ValueOf<Sample> largest = 0;
  for (Index i = 0; i < n; ++i) largest = std::max(largest, std::abs(x(i)));
  return static_cast<double>(largest);
}

// The power of two that brings the sample's largest magnitude to about 1, held back so that neither it (2^1000) nor
// eps * scale^2 (2^1000) overflows. 1 for samples of zeros and for samples that hold inf.
inline double rescue_scale(double largest, double eps) {
  if (largest == 0 || !std::isfinite(largest)) return 1;
  int exponent = std::clamp(-std::ilogb(largest), -1000, 1000);
  if (eps > 0) exponent = std::min(exponent, 500 - std::ilogb(eps) / 2);
  return std::ldexp(1.0, std::max(exponent, -1000));
}

// The mean alone, finite for every finite sample: what deviation() takes away.
template <class Sample>
SampleStatistics mean_of_sample(Sample const& x, Index n) {
  SampleStatistics s;
  find_mean(x, n, s);
  if (!std::isfinite(s.mean_high)) {  // a sum of differences beyond the range: scale to about 1
    s = SampleStatistics{.scale = rescue_scale(largest_magnitude(x, n), 0)};
    find_mean(x, n, s);
  }
  return s;
}

template <class Sample>
double mean_square_deviation(Sample const& x, Index n, SampleStatistics const& s) {
  TwoWords const squares = sum_terms<ValueOf<Sample>>(n, [&](auto& to, Index i, int lane) {
    double const e = deviation(x(i), s);
    to.add_product(lane, e, e);
  });
  return squares.high / static_cast<double>(n);
}

// The norm's second moment of x * scale: variance, or mean square. Writes the mean into s where the norm has one.
template <class Policy, class Sample>
double find_second_moment(Sample const& x, Index n, SampleStatistics& s) {
  if constexpr (Policy::subtracts_mean) find_mean(x, n, s);
  return mean_square_deviation(x, n, s);
}

// Statistics of one sample of n >= 1 features, finite for every finite sample.
template <class Policy, class Sample>
SampleStatistics sample_statistics(Sample const& x, Index n, double eps) {
  SampleStatistics s;
  double moment = find_second_moment<Policy>(x, n, s);
  if constexpr (std::same_as<ValueOf<Sample>, double>) {
    // Within these limits no square that matters, and no low word, left the range of double. NaN is outside.
    if (!(moment >= 0x1p-800 && moment + eps <= 0x1p800)) {
      double const scale = rescue_scale(largest_magnitude(x, n), eps);
      SampleStatistics rescued{.scale = scale};
      double const rescued_moment = find_second_moment<Policy>(x, n, rescued);
      if (rescued_moment != 0) {  // else the sample is flat, and its eps must not underflow with the scale
        s = rescued;
        moment = rescued_moment;
        eps = (eps * scale) * scale;
      }
    }
  }
  // Without spread xhat is 0 even for eps = 0; with one feature LayerNorm is constant, so its derivative is 0 as well.
  bool const flat = moment + eps == 0 || (Policy::subtracts_mean && n == 1 && std::isfinite(x(0)));
  s.inverse_deviation = flat ? 0 : 1 / std::sqrt(moment + eps);
  s.exact = true;
  return s;
}

}  // namespace foldnorm::detail
