// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/exact_backward.hpp -- the backward of one sample in double, rounded once.
//
// The accurate mode, and the fast mode's way out. dy may have any size: where double might not hold a product, powers
// of two are taken out of the sample and put back at the end.
#pragma once

#include <foldnorm/kernels/detail/backward_operands.hpp>
#include <foldnorm/kernels/detail/moments.hpp>

#include <cmath>

namespace foldnorm::detail {

// dx = residual * rstd, where the residual was computed from dy * dy_scale and rstd = inverse_deviation * scale may be
// out of range on its own: the powers of two are split into two factors that are applied one after the other.
struct OutputFactors {
  double first;
  double second;
  OutputFactors(SampleStatistics const& s, double dy_scale) {
    int const exponent = std::ilogb(s.scale) - std::ilogb(dy_scale);
    first = s.inverse_deviation * std::ldexp(1.0, exponent / 2);
    second = std::ldexp(1.0, exponent - exponent / 2);
  }
};

// Calls term(i, dy, xhat) for every feature, before dx of that feature is written.
//
// No product is left to a compiler to contract (sums.hpp): a sample has the same bits alone and among others.
template <class Norm, class Sample, class Term>
void backward_exactly(Sample const& sample, Index n, SampleStatistics const& s, Term term) {
  using T = std::remove_pointer_t<decltype(sample.dx)>;
  using C = Compute<T>;
  auto const dy = [&](Index i) { return static_cast<C>(sample.dy[i]); };
  // A rescued sample has its terms where dy has its own size: beside a deviation of 1e-310 even a dy of 1e-310 counts.
  double const dy_scale = s.scale == 1 ? 1 : rescue_scale(largest_magnitude(dy, n), 0);
  auto const scaled_dy = [&](Index i) { return scaled(dy(i), dy_scale); };
  auto const gain = [&]([[maybe_unused]] Index i) {
    if constexpr (decltype(sample.gamma)::present) return sample.gamma.template one<double>(i);
    return 1.0;
  };
  auto const xhat = [&](Index i) { return deviation(static_cast<C>(sample.x[i]), s) * s.inverse_deviation; };
  auto const count = static_cast<double>(n);
  double mean_g = 0;
  if constexpr (Norm::subtracts_mean) {
    mean_g =
        sum_terms<C>(n, [&](auto& to, Index i, int lane) { to.add_product(lane, scaled_dy(i), gain(i)); }).high / count;
  }
  double const mean_g_xhat =
      sum_terms<C>(n, [&](auto& to, Index i, int lane) { to.add_product(lane, scaled_dy(i) * gain(i), xhat(i)); })
          .high /
      count;
  OutputFactors const factors(s, dy_scale);
  for (Index i = 0; i < n; ++i) {
    double const residual = multiply_add(-xhat(i), mean_g_xhat, multiply_add(scaled_dy(i), gain(i), -mean_g));
    double dx = (residual * factors.first) * factors.second;
    term(i, static_cast<double>(dy(i)), xhat(i));
    if (sample.upstream) dx += static_cast<double>(static_cast<C>(sample.upstream[i]));
    if (sample.dr) sample.dr[i] = static_cast<T>(dx * static_cast<double>(sample.alpha));
    sample.dx[i] = static_cast<T>(dx);
  }
}

}  // namespace foldnorm::detail
