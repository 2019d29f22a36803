// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/exact_sample.hpp -- one sample with all arithmetic in double, rounded once.
//
// The accurate mode, and the fast mode's way out for samples beyond its range. Double storage takes compensated sums.
// Never x * a + b with b = -mean * a: it cancels at the end, and constant samples would no longer give beta.
#pragma once

#include <foldnorm/kernels/detail/affine.hpp>
#include <foldnorm/kernels/detail/moments.hpp>
#include <foldnorm/kernels/detail/operands.hpp>

namespace foldnorm::detail {

// The output of a sample whose statistics are known. y may be what the source reads.
template <class Sample>
void normalize_exactly(Sample const& sample, Index n, SampleStatistics const& s) {
  using T = std::remove_pointer_t<decltype(sample.y)>;
  using Gamma = decltype(sample.gamma);
  using Beta = decltype(sample.beta);
  auto const source = sample.source.settled();
  for (Index i = 0; i < n; ++i) {
    double const centered = deviation(source(i), s);
    double y = centered * s.inverse_deviation;
    if constexpr (Gamma::present && Beta::present) {
      y = multiply_add(y, sample.gamma.template one<double>(i), sample.beta.template one<double>(i));
    } else if constexpr (Gamma::present) {
      y *= sample.gamma.template one<double>(i);
    } else if constexpr (Beta::present) {
      y = multiply_add(centered, s.inverse_deviation, sample.beta.template one<double>(i));
    }
    sample.y[i] = static_cast<T>(y);
  }
}

template <class Norm, class Operands>
void normalize_samples_exactly(Operands const& operands, Index begin, Index end) {
  Index const n = operands.norm_size;
  for (Index number = begin; number < end; ++number) {
    auto const sample = operands.sample(number);
    for (Index i = 0; i < n; ++i) sample.source.keep_one(i, sample.source(i));
    SampleStatistics const s = sample_statistics<Norm>(sample.source.settled(), n, static_cast<double>(operands.eps));
    normalize_exactly(sample, n, s);
    if (operands.statistics) operands.statistics[number] = s;
  }
}

}  // namespace foldnorm::detail
