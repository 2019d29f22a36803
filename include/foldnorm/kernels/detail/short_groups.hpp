// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/short_groups.hpp -- many samples of few features: a block of width<C> samples at a time.
//
// The sums of a block are reduced together, so that every sample has one lane, and square root and division are done
// once for all; then each sample's words are spread over its packs. norm_size d is a power of two known at compile
// time, or any multiple of width:
//
//   d >= width:  one sample is d / width packs, a run;       a block is `width` runs
//   d <  width:  one pack holds width / d samples, a run;    a block is d runs
//
// The bits of a sample do not depend on its lane, so neither on its neighbours.
#pragma once

#include <foldnorm/kernels/detail/staged_block.hpp>
#include <foldnorm/kernels/detail/unusual_block.hpp>

#include <algorithm>
#include <concepts>
#include <type_traits>

namespace foldnorm::detail {

// Longer samples do as well one at a time.
template <class C>
inline constexpr int longest_short_group = 8 * width<C>;

template <class C>
bool is_short_group(Index norm_size) {
  if (norm_size % width<C> == 0) return norm_size <= longest_short_group<C>;
  return norm_size >= 2 && norm_size < width<C> && (norm_size & (norm_size - 1)) == 0;
}
inline constexpr int any_size = 0;  // a multiple of width, known when running

template <class Norm, int fixed_size, class Operands>
class ShortGroups {
  using T = typename Operands::T;
  using C = typename Operands::C;
  static constexpr int samples = width<C>;                                                         // of a block
  static constexpr int runs = fixed_size == any_size ? width<C> : std::min(fixed_size, width<C>);  // of a block
  static constexpr int samples_per_run = samples / runs;
  static constexpr bool grouped = Operands::grouped;
  static_assert(grouped || samples_per_run == 1);

 public:
  ShortGroups(Operands const& operands, Traffic traffic) : operands_(operands), traffic_(traffic) {}

  void normalize(Index begin, Index end) const {
    for (Index first = begin; first < end;) {
      // Blocks of groups end with their column; blocks of columns, with the matrix.
      Index const stop = grouped ? std::min(end, (first / operands_.groups + 1) * operands_.groups) : end;
      Index const blocks = (stop - first) / samples;
      whole_blocks(first, blocks);
      first += blocks * samples;
      if (first < stop && blocks > 0 && grouped && !operands_.in_place) {
        whole_blocks(stop - samples, 1);  // some of them a second time: cheaper than a block that is not full
      } else if (first < stop) {
        partial_block(first, static_cast<int>(stop - first));
      }
      first = stop;
    }
    if (traffic_ == Traffic::streamed) stream_fence();
  }

 private:
  static constexpr int lane_of(int sample) { return lane_of_sample<C>(sample, runs); }
  FOLDNORM_INLINE Index d() const { return fixed_size == any_size ? operands_.norm_size : fixed_size; }
  // Where a block lies: its first sample, and that sample's column and feature.
  struct Place {
    Index number, column, feature;
  };
  Place place_of(Index first) const { return {first, operands_.column_of(first), operands_.feature_of(first)}; }
  FOLDNORM_INLINE Place place_of(Place const& first, Index block) const {  // of one as many blocks on
    Index const step = block * samples;
    return grouped ? Place{first.number + step, first.column, first.feature + step * d()}
                   : Place{first.number + step, first.column + step, first.feature};
  }
  // Run r of a block, in one of the operands. (Callers hold copies of these: members may change with every store to y,
  // for all that a compiler knows.)
  template <class Any>
  FOLDNORM_INLINE auto run(Any const& columns, Place const& place, int r) const {
    return grouped ? columns.at(place.column, place.feature + r * samples_per_run * d())
                   : columns.at(place.column, place.feature, r);
  }

  // Calls body(i) for the first feature i of every pack of a run.
  FOLDNORM_INLINE void for_packs(auto body) const {
    if constexpr (fixed_size == any_size) {
      Index const n = d();
      for (Index i = 0; i < n; i += width<C>) body(i);
    } else {
      unrolled<std::max(1, fixed_size / width<C>)>([&](Index p) FOLDNORM_INLINE_LAMBDA { body(p * width<C>); });
    }
  }

  using AllRuns = std::integral_constant<int, runs>;

  // Runs 0 .. count - 1; unrolled where all are there.
  template <class Count, class Body>
  static FOLDNORM_INLINE void for_runs(Count count, Body body) {
    if constexpr (std::same_as<Count, AllRuns> && samples_per_run > 1) {
      unrolled_constants<runs>(body);  // for Spread::lane
    } else if constexpr (std::same_as<Count, AllRuns>) {
      unrolled<runs>(body);
    } else {
      for (int r = 0; r < count; ++r) body(r);
    }
  }

  // The runs that are missing repeat the last one, so that nothing unusual is found in them.
  template <class Count>
  static FOLDNORM_INLINE Pack<C> segments(Pack<C> (&values)[runs], Count count) {
    if constexpr (!std::same_as<Count, AllRuns>) std::fill(values + count, values + runs, values[count - 1]);
    return segment_sums<C>(values);
  }

  void whole_blocks(Index first, Index blocks) const {
    if constexpr (real_scalar<T>) {
      if (traffic_ == Traffic::streamed) return blocks_in_flight<Traffic::streamed>(first, blocks);
    }
    blocks_in_flight<Traffic::cached>(first, blocks);
  }
  // Four blocks in flight, since no processor looks far enough ahead to overlap one block's chain of reductions,
  // division and square root with the work of others: while block b is written, b + 1 gets its statistics, b + 2 its
  // sums and b + 3 its shifts.
  template <Traffic traffic>
  void blocks_in_flight(Index first, Index blocks) const {
    Place const place = place_of(first);
    Pack<C> shift{};
    LaneSums<C> sums{};
    FastStatistics<Pack<C>> found{};
    for (Index b = -3; b < blocks; ++b) {
      FastStatistics<Pack<C>> const written = found;
      if (b >= -1) found = lane_statistics<Norm, C>(sums, static_cast<C>(d()), operands_.eps);
      if (b >= -2 && b + 2 < blocks) sums = measured<traffic>(place_of(place, b + 2), shift, AllRuns{});
      if (b + 3 < blocks) shift = shifts(place_of(place, b + 3), AllRuns{});
      if (b >= 0) write<traffic>(place_of(place, b), written, AllRuns{});
    }
  }

  // K of each sample: the mean of its first pack, or of all of it; exact where all values are equal.
  template <class Count>
  FOLDNORM_INLINE Pack<C> shifts(Place const& place, Count count) const {
    if constexpr (!Norm::subtracts_mean) return Pack<C>{};
    auto const source = operands_.source;
    Pack<C> heads[runs];
    for_runs(count, [&](auto r) FOLDNORM_INLINE_LAMBDA { heads[r] = run(source, place, r).first(0); });
    return segments(heads, count) * (C(1) / runs);
  }

  FOLDNORM_INLINE void fetch_ahead(auto const& source) const {
    constexpr Index line = std::max<Index>(width<C>, 64 / static_cast<Index>(sizeof(T)));
    constexpr Index ahead = prefetch_bytes(Traffic::streamed) / static_cast<Index>(sizeof(T));
    for (Index i = 0; i < std::max<Index>(d(), width<C>); i += line) source.expect(i + ahead);
  }

  template <Traffic traffic, class Count>
  FOLDNORM_INLINE LaneSums<C> measured(Place const& place, Pack<C> shift, Count count) const {
    auto const all = operands_.source;
    Spread<C, runs> const shift_of(shift);
    Pack<C> sum[runs], squares[runs];
    for_runs(count, [&](auto r) FOLDNORM_INLINE_LAMBDA {
      auto const source = run(all, place, r);
      if constexpr (traffic == Traffic::streamed) fetch_ahead(source);  // from a cache it gains nothing, and costs 4 %
      Pack<C> const k = shift_of.lane(r);
      Pack<C> run_sum{}, run_squares{};
      for_packs([&](Index i) FOLDNORM_INLINE_LAMBDA {
        Pack<C> const x = source.first(i);
        source.keep(i, x);
        Pack<C> const s = Norm::subtracts_mean ? x - k : x;
        if constexpr (Norm::subtracts_mean) run_sum = i == 0 ? s : run_sum + s;
        run_squares = multiply_add(s, s, run_squares);  // from 0 on: s * s, which no compiler may contract
      });
      sum[r] = run_sum;
      squares[r] = run_squares;
    });
    LaneSums<C> sums{shift, Pack<C>{}, segments(squares, count)};
    if constexpr (Norm::subtracts_mean) sums.sum = segments(sum, count);
    return sums;
  }

  template <Traffic traffic, class Count>
  FOLDNORM_INLINE void write(Place const& place, FastStatistics<Pack<C>> const& found, Count count) const {
    int const present = count * samples_per_run;
    if (!found.usable()) return write_unusual_block<Norm>(operands_, place.number, present, runs, found);
    if (operands_.statistics) {
      for (int i = 0; i < present; ++i)
        operands_.statistics[place.number + i] = kept_statistics(statistics_of_lane<C>(found, lane_of(i)));
    }
    auto const sources = operands_.source;
    auto const gammas = operands_.gamma;
    auto const betas = operands_.beta;
    auto const ys = operands_.y;
    Spread<C, runs> const high(found.mean_high), offset(-found.mean_low * found.rstd), rstd(found.rstd);
    for_runs(count, [&](auto r) FOLDNORM_INLINE_LAMBDA {
      auto const source = run(sources, place, r);
      auto const gamma = run(gammas, place, r);
      auto const beta = run(betas, place, r);
      T* const y = run(ys, place, r);
      SampleWords<C> const words{high.lane(r), offset.lane(r), rstd.lane(r)};
      for_packs([&](Index i) FOLDNORM_INLINE_LAMBDA {
        Pack<C> const xhat = normalized<Norm, C>(source.again(i), words);
        Pack<C> const value = gain_and_shift<C>(xhat, gamma, beta, i);
        put<T, C>(y + i, value, traffic);
      });
    });
  }

  // A block that is not full: its runs where they are; where a run holds several groups, on a full block's copy, in
  // which the last of them is repeated.
  __attribute__((noinline)) void partial_block(Index first, int count) const {
    if constexpr (samples_per_run > 1) {
      StagedBlock<Operands, fixed_size, samples> stage(operands_, first, count);
      Operands const copies = stage.copy_in();
      ShortGroups(copies, Traffic::cached).whole_blocks(0, 1);
      stage.copy_out();
    } else {
      Place const place = place_of(first);
      Pack<C> const shift = shifts(place, count);
      LaneSums<C> const sums = measured<Traffic::cached>(place, shift, count);
      write<Traffic::cached>(place, lane_statistics<Norm, C>(sums, static_cast<C>(d()), operands_.eps), count);
    }
  }

  Operands const& operands_;
  Traffic traffic_;
};
}  // namespace foldnorm::detail
