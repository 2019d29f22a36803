// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/unusual_sample.hpp -- what becomes of a sample that the fast statistics do not fit.
//
// It is measured again around a better K; or it is flat, every value the same; or, where float (double) would leave its
// range, it is rescued: statistics and output are computed the accurate way (exact_sample.hpp).
#pragma once

#include <foldnorm/kernels/detail/stages.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

#include <cmath>

namespace foldnorm::detail {

template <class C>
struct UnusualSample {
  C high = 0, low = 0, rstd = 0;  // where not rescued
  bool rescued = false;
  SampleStatistics statistics;
};

inline SampleStatistics kept_statistics(FastStatistics<double> const& found) {
  return {.mean_high = found.mean_high, .mean_low = found.mean_low, .inverse_deviation = found.rstd};
}

// mean = high + low and rstd as a kernel applies them.
template <class C>
UnusualSample<C> in_words(FastStatistics<double> const& found) {
  auto const high = static_cast<C>(found.mean_high);
  auto const low = static_cast<C>((found.mean_high - static_cast<double>(high)) + found.mean_low);
  return {high, low, static_cast<C>(found.rstd), false, kept_statistics(found)};
}

template <class Source>
bool is_constant(Source const& source, Index n) {
  auto const first = source(0);
  Index i = 1;
  while (i < n && source(i) == first) ++i;
  return i == n;
}

// `source` is settled; `shift` a better K, or not finite.
template <class Norm, class C, class Source>
__attribute__((noinline)) UnusualSample<C> look_closer(Source source, C shift, Index n, C eps) {
  if (Norm::subtracts_mean && std::isfinite(shift)) {
    Measure<Norm, Source> measure(source, broadcast(shift), n);
    run(measure);
    FastStatistics<double> const found = one_sample_statistics<Norm, C>(measure.sums(), n, eps);
    if (found.usable()) return in_words<C>(found);
  }
  C const value = source(0);
  if ((Norm::subtracts_mean ? std::isfinite(value) : value == 0) && is_constant(source, n)) {
    bool const has_gradient = eps > 0 && !(Norm::subtracts_mean && n == 1);
    double const rstd = has_gradient ? 1 / std::sqrt(static_cast<double>(eps)) : 0;
    double const mean = Norm::subtracts_mean ? static_cast<double>(value) : 0;
    return {.high = value, .statistics = {.mean_high = mean, .inverse_deviation = rstd}};  // xhat = 0 for any rstd
  }
  return {.rescued = true, .statistics = sample_statistics<Norm>(source, n, static_cast<double>(eps))};
}

}  // namespace foldnorm::detail
