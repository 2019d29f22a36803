// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/unusual_block.hpp -- a block of short samples some of which the fast statistics do not fit.
//
// Its samples are written one at a time, each with the statistics of its lane or, where they do not fit, with its own
// (unusual_sample.hpp). Rare, so one function serves blocks of samples of every size.
#pragma once

#include <foldnorm/kernels/detail/exact_sample.hpp>
#include <foldnorm/kernels/detail/unusual_sample.hpp>

namespace foldnorm::detail {

// The lane in which sample i of a block has its sums, when the block's packs are `runs` runs (short_groups.hpp).
template <class C>
constexpr int lane_of_sample(int i, int runs) {
  int const samples_per_run = width<C> / runs;
  return i % samples_per_run * runs + i / samples_per_run;
}

template <class C>
FastStatistics<double> statistics_of_lane(FastStatistics<Pack<C>> const& block, int lane) {
  auto const value = [lane](Pack<C> pack) { return static_cast<double>(pack[lane]); };
  return {value(block.mean_high), value(block.mean_low), value(block.rstd), true, true};
}

// Writes samples first .. first + count - 1, a block in `runs` runs or the beginning of one.
template <class Norm, class Operands>
__attribute__((noinline)) void write_unusual_block(Operands const& operands, Index first, int count, int runs,
                                                   FastStatistics<Pack<typename Operands::C>> const& found) {
  using C = typename Operands::C;
  Index const n = operands.norm_size;
  PackMask<C> const usable = found.near & found.in_range;
  for (int i = 0; i < count; ++i) {
    auto const s = operands.sample(first + i);
    int const lane = lane_of_sample<C>(i, runs);
    UnusualSample<C> own = in_words<C>(statistics_of_lane<C>(found, lane));
    if (!usable[lane]) own = look_closer<Norm, C>(s.source.settled(), found.mean_high[lane], n, operands.eps);
    if (operands.statistics) operands.statistics[first + i] = own.statistics;
    if (own.rescued) {
      normalize_exactly(s, n, own.statistics);
    } else {
      Normalize<Norm, decltype(s.source), decltype(s.gamma), decltype(s.beta)> stage(
          s.source, {broadcast(own.high), broadcast(-own.low * own.rstd), broadcast(own.rstd)}, s.gamma, s.beta, s.y,
          n);
      run(stage);
    }
  }
}

}  // namespace foldnorm::detail
