// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/short_groups_backward.hpp -- the backward of many short samples: a block of width<C> at a
// time.
//
// As in the forward (short_groups.hpp): both sums of a block are reduced together, one lane for each sample, and each
// sample's words are spread over its packs. While a block is written the next one is summed. Each feature's terms of
// dgamma and dbeta are added in the order of the columns, as they are one sample at a time.
//
// The bits of dx do not depend on a sample's lane, nor on how full its block is. Blocks that are not full are cheap
// from a pack a sample on, and where several samples share a pack are worked on in copies. One sample at a time
// (FastBackward) stays for columns shorter than a pack that are no groups, and for sizes that are neither a power of
// two below a pack nor a multiple of packs. dbeta is summed even where nobody asks for it.
#pragma once

#include <foldnorm/kernels/detail/fast_backward.hpp>
#include <foldnorm/kernels/detail/short_groups.hpp>
#include <foldnorm/kernels/detail/staged_backward.hpp>

#include <algorithm>
#include <utility>

namespace foldnorm::detail {

// fixed_size: norm_size, where it is known at compile time. With any_size a loop over runs takes the place of code for
// each, slower for few packs and much less.
template <class Norm, int fixed_size, class Operands>
class ShortGroupsBackward {
  using T = typename Operands::T;
  using C = typename Operands::C;
  using Sample = decltype(std::declval<Operands const&>().sample(0));
  static constexpr int samples = width<C>;  // of a block
  static constexpr int runs = fixed_size == any_size ? width<C> : std::min(fixed_size, width<C>);
  static constexpr int samples_per_run = samples / runs;
  static constexpr bool grouped = Operands::grouped;
  static constexpr int lane_of(int sample) { return lane_of_sample<C>(sample, runs); }
  static constexpr int sample_of(int lane) { return lane_of_sample<C>(lane, samples_per_run); }  // the way back

 public:
  // takes_parts: blocks that are not full may be worked on where they lie, as if they were.
  ShortGroupsBackward(Operands const& operands, Traffic traffic, bool takes_parts = fixed_size == any_size)
      : operands_(operands), traffic_(traffic), takes_parts_(takes_parts) {}

  // Samples begin .. end - 1; adds to the sums, which are of all features.
  void run(Index begin, Index end, ParameterSums<C> const& all_sums) const {
    ParameterSums<C> const sums = all_sums;
    Place place = started({begin, operands_.column_of(begin), grouped ? begin % operands_.groups : 0, 0}, end);
    Summed next;
    if (taken(place)) next = summed(place);
    while (place.count > 0) {
      Place const current_place = place;
      Summed const current = next;
      place = started({place.number + place.count, place.column, place.group + place.count, 0}, end);
      if (taken(place)) next = summed(place);
      if (taken(current_place)) {
        write(current_place, current, sums);
      } else {
        partial_block(current_place.number, current_place.count, sums);
      }
    }
    if (traffic_ == Traffic::streamed) stream_fence();
  }

 private:
  // A block: its first sample, that sample's column and group, and how many there are; 0 behind the last.
  struct Place {
    Index number, column, group;
    int count;
  };
  struct Summed {
    BackwardWords<C> words;  // a sample in each lane
    bool exact;              // some statistics were found in double
  };
  // The block at p, which may have come to the end of a column.
  FOLDNORM_INLINE Place started(Place p, Index end) const {
    Index left = end - p.number;
    if constexpr (grouped) {
      if (p.group == operands_.groups) {
        p.group = 0;
        ++p.column;
      }
      left = std::min(left, operands_.groups - p.group);
    } else {
      p.column = p.number;
    }
    p.count = static_cast<int>(std::min<Index>(samples, left));
    return p;
  }
  FOLDNORM_INLINE bool taken(Place const& place) const {
    return place.count == samples || (takes_parts_ && place.count > 0);
  }
  FOLDNORM_INLINE Index d() const { return fixed_size == any_size ? operands_.norm_size : Index{fixed_size}; }
  FOLDNORM_INLINE Index run_size() const { return std::max<Index>(d(), width<C>); }

  // Calls use(r, sample) for the runs of a block.
  template <class Use>
  FOLDNORM_INLINE void each_run(Place const& place, Use use) const {
    Operands const all = operands_;  // members may change with every store, for all that a compiler knows
    Sample const first = all.at(place.column, place.group * d());
    Index const step = samples_per_run * d();
    auto const visit = [&](auto r) FOLDNORM_INLINE_LAMBDA {
      use(r, grouped ? first.from(r * step) : all.at(place.column, 0, r));
    };
    if constexpr (fixed_size == any_size) {
      for (int r = 0; r < place.count; ++r) visit(r);
    } else if constexpr (samples_per_run > 1) {
      unrolled_constants<runs>(visit);  // for Spread::lane
    } else {
      unrolled<runs>(visit);
    }
  }

  FOLDNORM_INLINE Summed summed(Place const& place) const {
    bool exact = false;
    SampleWords<C> const words = forward_words(place, exact);
    Spread<C, runs> const high(words.high);
    Pack<C> g[runs], g_x[runs];
    if constexpr (fixed_size == any_size) {
      for (int r = place.count; r < runs; ++r) g[r] = g_x[r] = Pack<C>{};
    }
    Index const n = run_size();
    each_run(place, [&](auto r, Sample const& s) FOLDNORM_INLINE_LAMBDA {
      Pack<C> g_sum{}, g_x_sum{};
      for (Index i = 0; i < n; i += width<C>)
        add_gradient_sums<Norm, C>(s, high.lane(r), i, WholePack{}, g_sum, g_x_sum);
      g[r] = g_sum;
      g_x[r] = g_x_sum;
    });
    Pack<C> const g_sum = Norm::subtracts_mean ? segment_sums<C>(g) : Pack<C>{}, g_x_sum = segment_sums<C>(g_x);
    C const inverse_n = 1 / static_cast<C>(d());
    return {{words, -g_sum * inverse_n, g_xhat_sum<Norm, C>(words, g_sum, g_x_sum) * inverse_n}, exact};
  }

  // The words of each sample, in its lane; 0 where there is none.
  FOLDNORM_INLINE SampleWords<C> forward_words(Place const& place, bool& exact) const {
    alignas(pack_bytes) C high[samples], offset[samples], rstd[samples];
    SampleStatistics const* const statistics = operands_.statistics + place.number;
    auto const lane = [&](int l) FOLDNORM_INLINE_LAMBDA {
      SampleStatistics const& s = statistics[sample_of(l)];
      high[l] = static_cast<C>(s.mean_high);
      auto const low = static_cast<C>((s.mean_high - static_cast<double>(high[l])) + s.mean_low);
      rstd[l] = static_cast<C>(s.inverse_deviation);
      offset[l] = -low * rstd[l];
      exact |= s.exact;
    };
    if (place.count == samples) {
      for (int l = 0; l < samples; ++l) lane(l);
    } else {
      for (int l = 0; l < samples; ++l) high[l] = offset[l] = rstd[l] = 0;
      for (int i = 0; i < place.count; ++i) lane(lane_of(i));
    }
    return {load(high), load(offset), load(rstd)};
  }

  FOLDNORM_INLINE void write(Place const& place, Summed const& block, ParameterSums<C> const& sums) const {
    BackwardWords<C> const& w = block.words;
    Pack<C> const rstd = w.forward.rstd;
    Pack<C> const size = multiply_add(w.minus_mean_g, w.minus_mean_g, w.mean_g_xhat * w.mean_g_xhat);
    // The ranges that fits_fast_backward and means_in_range ask for, less a factor of 2 at the ends.
    bool const usual = !block.exact && all_lanes((rstd >= C(0x1p-40)) & (rstd <= C(0x1p40)) & (size >= C(0x1p-120)) &
                                                 (size <= C(0x1p119)));
    if (!usual) {
      // Copied member by member, so that the originals stay in registers.
      Place const own_place{place.number, place.column, place.group, place.count};
      BackwardWords<C> const own{{w.forward.high, w.forward.offset, w.forward.rstd}, w.minus_mean_g, w.mean_g_xhat};
      if (written_apart(own_place, own, sums)) return;
    }
    if (!operands_.upstream.data && !operands_.dr.data && traffic_ == Traffic::cached) {
      write_block<true>(place, w, sums);
    } else {
      write_block<false>(place, w, sums);
    }
  }

  // simple: dx is all there is to write, and is not streamed; so no run asks.
  template <bool simple>
  FOLDNORM_INLINE void write_block(Place const& place, BackwardWords<C> const& w,
                                   ParameterSums<C> const& all_sums) const {
    ParameterSums<C> const block_sums = all_sums.from(grouped ? place.group * d() : 0);
    Spread<C, runs> const high(w.forward.high), offset(w.forward.offset), rstd(w.forward.rstd),
        minus_mean_g(w.minus_mean_g), mean_g_xhat(w.mean_g_xhat);
    Index const n = run_size(), step = grouped ? samples_per_run * d() : 0;
    Traffic const traffic = traffic_;
    each_run(place, [&](auto r, Sample s) FOLDNORM_INLINE_LAMBDA {
      if constexpr (simple) {
        s.upstream = nullptr;
        s.dr = nullptr;
      }
      BackwardWords<C> const words{
          {high.lane(r), offset.lane(r), rstd.lane(r)}, minus_mean_g.lane(r), mean_g_xhat.lane(r)};
      ParameterSums<C> const sums = block_sums.from(r * step);
      for (Index i = 0; i < n; i += width<C>) {
        if (simple || traffic == Traffic::cached) fetch_outputs<1, C>(s, i);
        Pack<C> const dx = gradient_of_pack<Norm, Sums::both, C>(s, words, sums, i, WholePack{});
        put<T, C>(s.dx + i, dx, simple ? Traffic::cached : traffic);
      }
    });
  }

  // Where some samples do not fit the fast arithmetic, writes the whole block, one sample at a time.
  __attribute__((noinline)) bool written_apart(Place const& place, BackwardWords<C> const& w,
                                               ParameterSums<C> sums) const {
    auto const fits = [&](int i) {
      Index const number = place.number + i;
      int const lane = lane_of(i);
      return fits_fast_backward(operands_.statistics[number]) &&
             means_in_range<C>(operands_.sample(number), d(), w.minus_mean_g[lane], w.mean_g_xhat[lane]);
    };
    int i = 0;
    while (i < place.count && fits(i)) ++i;
    if (i == place.count) return false;
    for (i = 0; i < place.count; ++i) {
      Index const number = place.number + i;
      if (fits(i)) {
        auto const own = [lane = lane_of(i)](Pack<C> p) { return broadcast(static_cast<C>(p[lane])); };
        SampleWords<C> const forward{own(w.forward.high), own(w.forward.offset), own(w.forward.rstd)};
        WriteGradients<Norm, Sums::both, false, Sample, C> stage(operands_.sample(number),
                                                                 {forward, own(w.minus_mean_g), own(w.mean_g_xhat)},
                                                                 sums.from(operands_.feature_of(number)), d(), false);
        detail::run(stage);
      } else {
        write_gradients_exactly<Norm>(operands_.sample(number), d(), operands_.statistics[number],
                                      sums.from(operands_.feature_of(number)));
      }
    }
    return true;
  }

  // A block that is not full. Where several samples share a pack, on copies that fill it.
  __attribute__((noinline)) void partial_block(Index first, int count, ParameterSums<C> sums) const {
    if constexpr (runs == samples) {
      ShortGroupsBackward<Norm, any_size, Operands>(operands_, traffic_).run(first, first + count, sums);
    } else {
      StagedBackward<Operands, fixed_size, samples> stage(operands_, first, count, sums);
      Operands const copies = stage.copy_in();
      ShortGroupsBackward(copies, Traffic::cached, true).run(0, count, stage.sums());
      stage.copy_out();
    }
  }

  Operands const& operands_;
  Traffic traffic_;
  bool takes_parts_;
};

}  // namespace foldnorm::detail
