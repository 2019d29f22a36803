// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/fast_backward.hpp -- the fast backward over a range of columns, two samples in flight.
//
// Sample j is written while j + 1 is summed. A third, as in the forward, would gain less than its x and dy cost: 1024
// features of all that is read and written fill a nearest cache of 32 KiB. What the fast arithmetic does not fit is
// computed the accurate way.
#pragma once

#include <foldnorm/kernels/detail/backward_stages.hpp>
#include <foldnorm/kernels/detail/exact_backward.hpp>
#include <foldnorm/kernels/detail/line_buffer.hpp>

#include <cmath>
#include <type_traits>
#include <utility>

namespace foldnorm::detail {

// Means of about this size say that no product comes near the ends of the range of float; a dy of zeros is welcome.
template <class Sample>
__attribute__((noinline)) bool gradient_in_range(Sample const& sample, Index n) {
  double const largest = largest_magnitude(
      [&](Index i) {
        double const dy = static_cast<double>(static_cast<decltype(sample.alpha)>(sample.dy[i]));
        if constexpr (decltype(sample.gamma)::present) return dy * sample.gamma.template one<double>(i);
        return dy;
      },
      n);
  return largest == 0 || (largest >= 0x1p-60 && largest <= 0x1p60);
}
template <class C, class Sample>
FOLDNORM_INLINE bool means_in_range(Sample const& sample, Index n, C mean_g, C mean_g_xhat) {
  C const size = std::abs(mean_g) + std::abs(mean_g_xhat);
  return (size >= C(0x1p-60) && size <= C(0x1p60)) || (std::isfinite(size) && gradient_in_range(sample, n));
}

// The accurate way for a sample of n features, among others that take the fast one.
template <class Norm, class C, class Sample>
__attribute__((noinline)) void write_gradients_exactly(Sample const& sample, Index n,
                                                       SampleStatistics const& statistics,
                                                       ParameterSums<C> const& sums) {
  backward_exactly<Norm>(sample, n, statistics, [&](Index i, double dy, double xhat) {
    sums.dgamma[i] = static_cast<C>(multiply_add(dy, xhat, static_cast<double>(sums.dgamma[i])));
    sums.dbeta[i] = static_cast<C>(static_cast<double>(sums.dbeta[i]) + dy);
  });
}

template <class Norm, Sums kept, class Operands>
class FastBackward {
  using T = typename Operands::T;
  using C = typename Operands::C;
  using Sample = decltype(std::declval<Operands const&>().sample(0));

 public:
  FastBackward(Operands const& operands, Traffic traffic)
      : operands_(operands), n_(operands.norm_size), traffic_(traffic) {}

  // Samples begin .. end - 1; adds to `sums`, which are of all features.
  void run(Index begin, Index end, ParameterSums<C> const& sums) const {
    if (begin == end) return;
    if (operands_.upstream.data || operands_.dr.data) {
      run_samples<false>(begin, end, sums);
    } else {
      run_samples<true>(begin, end, sums);
    }
  }

 private:
  struct Finished {
    BackwardWords<C> words;
    bool fits;
  };

  template <bool only_dx>
  void run_samples(Index begin, Index end, ParameterSums<C> const& sums) const {
    LineBuffer<T> buffer(buffers());
    Finished finished = summed(begin);
    for (Index j = begin; j < end; ++j) {
      Finished const current = finished;
      Sample sample = operands_.sample(j);
      T* const dx = std::exchange(sample.dx, buffer.place(sample.dx));
      ParameterSums<C> const sample_sums = sums.from(operands_.feature_of(j));
      if (current.fits && j + 1 < end) {
        finished = summed_while_writing<only_dx>(j + 1, sample, current, sample_sums);
      } else {
        if (j + 1 < end) finished = summed(j + 1);
        write<only_dx>(j, sample, current, sample_sums);
      }
      buffer.send(dx, n_);
    }
    buffer.finish();
    if (buffer.used()) stream_fence();
  }

  bool buffers() const { return traffic_ == Traffic::streamed && n_ <= LineBuffer<T>::capacity; }

  FOLDNORM_INLINE auto summing(Index j) const {
    // In cache two inputs and three outputs fill the ways of a set without being fetched early.
    Index const ahead = traffic_ == Traffic::streamed ? prefetch_bytes(traffic_) / static_cast<Index>(sizeof(T)) : 0;
    return GradientSums<Norm, Sample, C>(operands_.sample(j), words_of<C>(operands_.statistics[j]), n_, ahead);
  }
  template <bool only_dx>
  FOLDNORM_INLINE auto writing(Sample const& sample, Finished const& finished, ParameterSums<C> const& sums) const {
    return WriteGradients<Norm, kept, only_dx, Sample, C>(sample, finished.words, sums, n_, !buffers());
  }

  FOLDNORM_INLINE Finished summed(Index j) const {
    auto stage = summing(j);
    detail::run(stage);
    return finish(j, stage);
  }
  template <bool only_dx>
  FOLDNORM_INLINE Finished summed_while_writing(Index next, Sample const& sample, Finished const& finished,
                                                ParameterSums<C> const& sums) const {
    auto first = summing(next);
    auto second = writing<only_dx>(sample, finished, sums);
    detail::run(first, second);
    return finish(next, first);
  }
  template <bool only_dx>
  void write(Index j, Sample const& sample, Finished const& finished, ParameterSums<C> const& sums) const {
    if (finished.fits) {
      auto stage = writing<only_dx>(sample, finished, sums);
      detail::run(stage);
    } else {
      write_gradients_exactly<Norm>(sample, n_, operands_.statistics[j], sums);
    }
  }

  template <class Summing>
  FOLDNORM_INLINE Finished finish(Index j, Summing const& sums) const {
    Pack<C> const inverse_n = broadcast(1 / static_cast<C>(n_));
    BackwardWords<C> const words{words_of<C>(operands_.statistics[j]), -sums.g() * inverse_n,
                                 sums.g_xhat() * inverse_n};
    bool const fits = fits_fast_backward(operands_.statistics[j]) &&
                      means_in_range<C>(operands_.sample(j), n_, words.minus_mean_g[0], words.mean_g_xhat[0]);
    return {words, fits};
  }

  Operands const& operands_;
  Index n_;
  Traffic traffic_;
};

// The accurate way for samples begin .. end - 1.
template <class Norm, class Operands>
void backward_samples_exactly(Operands const& operands, Index begin, Index end,
                              ParameterSums<ExactSum<typename Operands::C>> const& all_sums) {
  for (Index j = begin; j < end; ++j) {
    auto const sums = all_sums.from(operands.feature_of(j));
    backward_exactly<Norm>(operands.sample(j), operands.norm_size, operands.statistics[j],
                           [&](Index i, double dy, double xhat) {
                             sums.dgamma[i].add_product(dy, xhat);
                             sums.dbeta[i].add(dy);
                           });
  }
}

}  // namespace foldnorm::detail
