// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/backward_stages.hpp -- the inner loop of the backward: sum over one sample while another's
// gradients are written.
//
//   g  = gamma * dy,   xhat = (x - high) * rstd + offset
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat))     LayerNorm;  RMSNorm: without mean(g)
//   dgamma += dy * xhat,   dbeta += dy
//
// Side by side the two stages share the loads of gamma, and neither waits for the other's reductions.
#pragma once

#include <foldnorm/kernels/detail/backward_operands.hpp>
#include <foldnorm/kernels/detail/stages.hpp>

#include <type_traits>

namespace foldnorm::detail {

template <class Gamma, class C, class Part>
FOLDNORM_INLINE Pack<C> gained(Pack<C> value, Gamma gamma, Index i, Part part) {
  if constexpr (Gamma::present) {
    return value * part.load(gamma.data + i);
  } else {
    return value;
  }
}

// gamma * dy - mean, in one rounding where there is a gamma.
template <class Gamma, class C, class Part>
FOLDNORM_INLINE Pack<C> gain_less_mean(Pack<C> dy, Gamma gamma, Index i, Pack<C> minus_mean, Part part) {
  if constexpr (Gamma::present) {
    return multiply_add(dy, part.load(gamma.data + i), minus_mean);
  } else {
    return dy + minus_mean;
  }
}

// Can the fast backward take a sample with these statistics? Within 2^+-40 no product of rstd leaves the range of
// float.
inline bool fits_fast_backward(SampleStatistics const& s) {
  double const rstd = s.inverse_deviation;
  return !s.exact && (rstd == 0 || (rstd >= 0x1p-40 && rstd <= 0x1p40));
}

template <class C>
SampleWords<C> words_of(SampleStatistics const& s) {
  auto const high = static_cast<C>(s.mean_high);
  auto const low = static_cast<C>((s.mean_high - static_cast<double>(high)) + s.mean_low);
  auto const rstd = static_cast<C>(s.inverse_deviation);
  return {broadcast(high), broadcast(-low * rstd), broadcast(rstd)};
}

// Adds one pack's terms to sum(g) and to sum(g * (x - high)).
template <class Norm, class C, class Sample, class Part>
FOLDNORM_INLINE void add_gradient_sums(Sample const& sample, Pack<C> high, Index i, Part part, Pack<C>& g_sum,
                                       Pack<C>& g_x_sum) {
  Pack<C> const g = gained<decltype(sample.gamma), C>(part.load(sample.dy + i), sample.gamma, i, part);
  if constexpr (Norm::subtracts_mean) g_sum += g;
  Pack<C> const x = part.load(sample.x + i);
  g_x_sum = multiply_add(g, Norm::subtracts_mean ? x - high : x, g_x_sum);
}
// sum(g * xhat) from both.
template <class Norm, class C>
FOLDNORM_INLINE Pack<C> g_xhat_sum(SampleWords<C> const& words, Pack<C> g_sum, Pack<C> g_x_sum) {
  Pack<C> const sum = g_x_sum * words.rstd;
  return Norm::subtracts_mean ? multiply_add(g_sum, words.offset, sum) : sum;
}

// sum(g) and sum(g * xhat) of one sample. The latter is summed as g * (x - high): rstd and offset are its factors.
template <class Norm, class Sample, class Scalar>
class GradientSums {
 public:
  using C = Scalar;
  static constexpr int packs_at_once = 2;
  static constexpr int turns = 1;

  FOLDNORM_INLINE GradientSums(Sample const& sample, SampleWords<C> const& words, Index n, Index prefetch_ahead)
      : sample_(sample), words_(words), size_(n), prefetch_(prefetch_ahead) {}
  Index size() const { return size_; }

  FOLDNORM_INLINE void begin() {}
  FOLDNORM_INLINE void packs(Index i, Turn<0>) {
    if (prefetch_ != 0) {
      prefetch(sample_.dy + i + prefetch_);
      prefetch(sample_.x + i + prefetch_);
    }
    unrolled<packs_at_once>([&](int p) FOLDNORM_INLINE_LAMBDA { add(i + p * width<C>, p, WholePack{}); });
  }
  FOLDNORM_INLINE void settle() {
    if constexpr (Norm::subtracts_mean) g_.settle();
    g_x_.settle();
  }
  FOLDNORM_INLINE void finish(Index i) {
    remaining_packs<C>(i, size_, [&](Index at, auto part) FOLDNORM_INLINE_LAMBDA { add(at, 0, part); });
  }

  // Once finished, in every lane.
  FOLDNORM_INLINE Pack<C> g() const { return Norm::subtracts_mean ? g_.total() : Pack<C>{}; }
  FOLDNORM_INLINE Pack<C> g_xhat() const { return g_xhat_sum<Norm, C>(words_, g(), g_x_.total()); }

 private:
  template <class Part>
  FOLDNORM_INLINE void add(Index i, int slot, Part part) {
    add_gradient_sums<Norm, C>(sample_, words_.high, i, part, g_[slot], g_x_[slot]);
  }

  Sample sample_;
  SampleWords<C> words_;
  Index size_, prefetch_;
  PackSum<C, packs_at_once> g_, g_x_;
};

// What WriteGradients needs of a sample, the same in every lane.
template <class C>
struct BackwardWords {
  SampleWords<C> forward;
  Pack<C> minus_mean_g, mean_g_xhat;  // minus the mean: a compiler may negate it where it costs an instruction
};

// Which running sums are kept; neither, or dbeta alone, costs what both cost.
enum class Sums { dgamma, both };

// dx of one pack of features; its terms of dgamma and dbeta go to `sums`, its dr to the sample's.
template <class Norm, Sums kept, class C, class Sample, class Part>
FOLDNORM_INLINE Pack<C> gradient_of_pack(Sample const& sample, BackwardWords<C> const& words,
                                         ParameterSums<C> const& sums, Index i, Part part) {
  using Gamma = decltype(sample.gamma);
  Pack<C> const dy = part.load(sample.dy + i);
  Pack<C> const xhat = normalized<Norm, C>(part.load(sample.x + i), words.forward);
  Pack<C> const without_mean = Norm::subtracts_mean
                                   ? gain_less_mean<Gamma, C>(dy, sample.gamma, i, words.minus_mean_g, part)
                                   : gained<Gamma, C>(dy, sample.gamma, i, part);
  Pack<C> dx = multiply_add(-xhat, words.mean_g_xhat, without_mean) * words.forward.rstd;
  part.store(sums.dgamma + i, multiply_add(dy, xhat, part.load(sums.dgamma + i)));
  if constexpr (kept == Sums::both) part.store(sums.dbeta + i, part.load(sums.dbeta + i) + dy);
  if (sample.upstream) dx += part.load(sample.upstream + i);
  if (sample.dr) part.store(sample.dr + i, dx * sample.alpha);
  return dx;
}

// Asks for the lines of dx and dr some way ahead of i, those of as many packs. A store waits for its line, and behind
// it wait those of the running sums, whose lines are at hand: without this a backward from the caches took 1.2 to 1.8
// times as long on Sapphire Rapids. 4 lines ahead or 32 were the same.
template <int packs, class C, class Sample>
FOLDNORM_INLINE void fetch_outputs(Sample const& sample, Index i) {
  constexpr int size = sizeof(*sample.dx), bytes = packs * width<C> * size;
  constexpr Index ahead = 4 * 64 / size;
  prefetch_to_write<bytes>(sample.dx + i + ahead);
  if (sample.dr) prefetch_to_write<bytes>(sample.dr + i + ahead);
}

// dx of one sample, and its terms of dgamma and dbeta. dx may be dy or x. `only_dx`: the sample has neither upstream
// nor dr. Asked at each pack, that took 1.2 to 1.3 times as long in cache. `fetches`: dx is no buffer, whose lines are
// at hand.
template <class Norm, Sums kept, bool only_dx, class Sample, class Scalar>
class WriteGradients {
 public:
  using C = Scalar;
  static constexpr int packs_at_once = 2;
  static constexpr int turns = 1;

  FOLDNORM_INLINE WriteGradients(Sample const& sample, BackwardWords<C> const& words, ParameterSums<C> const& sums,
                                 Index n, bool fetches)
      : sample_(sample), words_(words), sums_(sums), size_(n), fetches_(fetches) {
    if constexpr (only_dx) sample_.upstream = sample_.dr = nullptr;
  }
  Index size() const { return size_; }

  FOLDNORM_INLINE void begin() {}
  FOLDNORM_INLINE void packs(Index i, Turn<0>) {
    if (fetches_) fetch_outputs<packs_at_once, C>(sample_, i);
    unrolled<packs_at_once>([&](int p) FOLDNORM_INLINE_LAMBDA { write(i + p * width<C>, WholePack{}); });
  }
  FOLDNORM_INLINE void settle() {}
  FOLDNORM_INLINE void finish(Index i) {
    remaining_packs<C>(i, size_, [&](Index at, auto part) FOLDNORM_INLINE_LAMBDA { write(at, part); });
  }

 private:
  template <class Part>
  FOLDNORM_INLINE void write(Index i, Part part) const {
    part.store(sample_.dx + i, gradient_of_pack<Norm, kept, C>(sample_, words_, sums_, i, part));
  }

  Sample sample_;
  BackwardWords<C> words_;
  ParameterSums<C> sums_;
  Index size_;
  bool fetches_;
};

}  // namespace foldnorm::detail
