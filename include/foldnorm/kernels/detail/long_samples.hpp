// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/long_samples.hpp -- samples of any length, three in flight.
//
//   sample j is written while j + 2 is measured; meanwhile j + 1 is finished
//
// so that no loop waits for the reductions, the division and the square root between its two passes. All three still
// lie in the nearest cache when they are read again.
#pragma once

#include <foldnorm/kernels/detail/exact_sample.hpp>
#include <foldnorm/kernels/detail/line_buffer.hpp>
#include <foldnorm/kernels/detail/unusual_sample.hpp>

#include <utility>

namespace foldnorm::detail {

template <class Norm, class Operands>
class LongSamples {
  using T = typename Operands::T;
  using C = typename Operands::C;

 public:
  LongSamples(Operands const& operands, Traffic traffic)
      : operands_(operands), n_(operands.norm_size), traffic_(traffic) {}

  void normalize(Index begin, Index end) const {
    if (begin == end) return;
    Finished finished = finish(begin, measure(begin));
    LaneSums<C> sums{};
    if (begin + 1 < end) sums = measure(begin + 1);
    LineBuffer<T> buffer(traffic_ == Traffic::streamed && buffering_pays(operands_.sample(begin).y));
    for (Index j = begin; j < end; ++j) {
      Finished const current = finished;
      if (j + 1 < end) finished = finish(j + 1, sums);
      Output const output = output_of(j, buffer);
      if (j + 2 < end && !current.rescued) {
        sums = measure_and_write(j + 2, output, current);
      } else {
        if (j + 2 < end) sums = measure(j + 2);
        write(output, current);
      }
      buffer.send(operands_.sample(j).y, n_);
    }
    buffer.finish();
    if (traffic_ == Traffic::streamed) stream_fence();
  }

 private:
  struct Finished {
    Pack<C> high, offset, rstd;
    bool rescued;
    SampleStatistics rescued_statistics;
  };

  // Where packs cross lines, up to some 1500 floats: in longer samples the lines at both ends, stored (whole_lines),
  // cost less than the way through a buffer.
  bool buffering_pays(T const* y) const {
    return packs_cross_lines(y, n_) && n_ * static_cast<Index>(sizeof(T)) <= Index{6} << 10;
  }

  // A sample whose y is where it is to be written.
  struct Output {
    decltype(std::declval<Operands const&>().sample(0)) sample;
    Traffic traffic;
  };
  Output output_of(Index j, LineBuffer<T>& buffer) const {
    auto sample = operands_.sample(j);
    sample.y = buffer.place(sample.y);
    return {sample, buffer.used() ? Traffic::cached : traffic_};
  }

  // K: the mean of the sample's first pack, which is exact where all values are equal.
  template <bool fetches>
  FOLDNORM_INLINE auto measurement(Index j) const {
    auto const source = operands_.sample(j).source;
    Pack<C> shift{};
    if constexpr (Norm::subtracts_mean) {
      shift = n_ < width<C> ? broadcast(source(0)) : lane_sum<C>(source.first(0)) * (C(1) / width<C>);
    }
    return Measure<Norm, std::remove_const_t<decltype(source)>, fetches>(source, shift, n_, traffic_);
  }
  FOLDNORM_INLINE auto normalization(Output const& output, Finished const& finished) const {
    auto const& s = output.sample;
    return Normalize<Norm, decltype(s.source), decltype(s.gamma), decltype(s.beta)>(
        s.source, {finished.high, finished.offset, finished.rstd}, s.gamma, s.beta, s.y, n_, output.traffic);
  }

  FOLDNORM_INLINE LaneSums<C> measure(Index j) const {
    auto stage = measurement<false>(j);
    run(stage);
    return stage.sums();
  }
  FOLDNORM_INLINE LaneSums<C> measure_and_write(Index next, Output const& output, Finished const& finished) const {
    auto first = measurement<true>(next);
    auto second = normalization(output, finished);
    run(first, second);
    return first.sums();
  }
  FOLDNORM_INLINE void write(Output const& output, Finished const& finished) const {
    if (finished.rescued) {
      normalize_exactly(output.sample, n_, finished.rescued_statistics);
    } else {
      auto stage = normalization(output, finished);
      run(stage);
    }
  }

  FOLDNORM_INLINE Finished finish(Index j, LaneSums<C> const& sums) const {
    FastStatistics<double> const found = one_sample_statistics<Norm, C>(sums, n_, operands_.eps);
    UnusualSample<C> const s = found.usable()
                                   ? in_words<C>(found)
                                   : look_closer<Norm, C>(operands_.sample(j).source.settled(),
                                                          static_cast<C>(found.mean_high), n_, operands_.eps);
    if (operands_.statistics) operands_.statistics[j] = s.statistics;
    return {broadcast(s.high), broadcast(-s.low * s.rstd), broadcast(s.rstd), s.rescued, s.statistics};
  }

  Operands const& operands_;
  Index n_;
  Traffic traffic_;
};

}  // namespace foldnorm::detail
