// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/stages.hpp -- the inner loop of the norms: measure one sample while normalizing another.
//
//   Measure     sum(x - K), sum((x - K)^2)                  of the sample that comes next
//   Normalize   y = gamma * (x - mean) * rstd + beta        of a sample already measured
//
// Either also runs alone. Side by side they keep loads, arithmetic and stores busy at once, and memory streams in while
// results stream out (docs/benchmarks.md). Term i of a sum goes to a lane that depends on i and n alone, so neither
// alignment nor company changes a bit.
#pragma once

#include <foldnorm/kernels/detail/affine.hpp>
#include <foldnorm/kernels/detail/lane_statistics.hpp>
#include <foldnorm/kernels/detail/part_of_pack.hpp>
#include <foldnorm/kernels/detail/source.hpp>

#include <algorithm>
#include <type_traits>

namespace foldnorm::detail {

// Where a call's outputs go, and from how far ahead its inputs are fetched.
enum class Traffic { cached, streamed };
// What comes from the third-level cache, and what comes from DRAM. No multiple of 4096, which would put it where a
// power-of-two column is about to be evicted.
inline constexpr Index prefetch_bytes(Traffic traffic) { return traffic == Traffic::cached ? 16 * 64 : 79 * 64; }
// A lane takes at most this many terms before they are handed to a sum in double, so that length costs no digits; fewer
// where few lanes share a sample, so that 768 features lose no more than they do among 32 lanes.
inline constexpr Index terms_per_lane = pack_bytes < 32 ? 16 : 128;

// A sum over one sample in several packs, and what they held when they were full.
template <class C, int slots>
class PackSum {
 public:
  FOLDNORM_INLINE Pack<C>& operator[](int slot) { return packs_[slot]; }
  FOLDNORM_INLINE void settle() {
    settled_.add(static_cast<double>(lane_sum<C>(in_one_pack())[0]));
    unrolled<slots>([&](int p) FOLDNORM_INLINE_LAMBDA { packs_[p] = Pack<C>{}; });
    is_settled_ = true;
  }
  FOLDNORM_INLINE Pack<C> total() const {  // in every lane
    Pack<C> const sum = lane_sum<C>(in_one_pack());
    return is_settled_ ? broadcast(static_cast<C>(settled_.total() + static_cast<double>(sum[0]))) : sum;
  }

 private:
  FOLDNORM_INLINE Pack<C> in_one_pack() const { return in_one_pack<slots>(0); }
  template <int count>
  FOLDNORM_INLINE Pack<C> in_one_pack(int first) const {
    if constexpr (count == 1) {
      return packs_[first];
    } else {
      return in_one_pack<count / 2>(first) + in_one_pack<count / 2>(first + count / 2);
    }
  }

  Pack<C> packs_[slots] = {};
  ExactSum<C> settled_;
  bool is_settled_ = false;
};

// Which of its turns in a step a stage is to take. A step of eight packs in two turns, between which the other stage
// has its own: with eight loads at a stretch and then eight stores, RMSNorm took 1.0 to 1.15 times as long as LayerNorm
// from the third-level cache; in turns .81 to .88.
template <int index>
using Turn = std::integral_constant<int, index>;

// `fetches`: asks for what lies ahead; of no use to a sample that is measured by itself.
template <class Norm, class Source, bool fetches = false>
class Measure {
  using T = typename Source::Scalar;

 public:
  using C = typename Source::C;
  static constexpr int packs_at_once = 4;
  // An addition takes some 4 cycles and two can start in each: eight independent sums keep a sample alone busy.
  static constexpr int turns = Norm::subtracts_mean ? 1 : 2;

  FOLDNORM_INLINE Measure(Source source, Pack<C> shift, Index n, Traffic traffic = Traffic::cached)
      : source_(source), shift_(shift), size_(n), prefetch_(prefetch_bytes(traffic) / static_cast<Index>(sizeof(T))) {
    if (n > width<C>) tail_ = source.first(n - width<C>);  // before keep(), which may overwrite it in place
  }
  Index size() const { return size_; }
  FOLDNORM_INLINE void begin() {}

  template <int turn>
  FOLDNORM_INLINE void packs(Index i, Turn<turn>) {
    unrolled<packs_at_once>([&](int p) FOLDNORM_INLINE_LAMBDA {
      constexpr int packs_per_line = std::max(1, 64 / (width<C> * static_cast<int>(sizeof(T))));
      if (fetches && p % packs_per_line == 0) source_.expect(i + p * width<C> + prefetch_);
      if (p % 2 == 0) two_packs(i + p * width<C>, turn * packs_at_once + p);
    });
  }
  FOLDNORM_INLINE void settle() {
    if constexpr (Norm::subtracts_mean) sum_.settle();
    squares_.settle();
  }
  FOLDNORM_INLINE void finish(Index i) {
    for (; i + width<C> <= size_; i += width<C>) one_pack(i, 0);
    if (i < size_) last_pack(i);
  }

  // Once finished: of this one sample, in every lane.
  FOLDNORM_INLINE LaneSums<C> sums() const {
    return {shift_, Norm::subtracts_mean ? sum_.total() : Pack<C>{}, squares_.total()};
  }

 private:
  static Index few(Index n) { return std::min<Index>(n, width<C>); }  // it is less; the compiler does not know

  FOLDNORM_INLINE void two_packs(Index i, int lane_group) {
    Pack<C> const a = source_.first(i, OfTwo<T, 0>{}), b = source_.first(i, OfTwo<T, 1>{});
    source_.keep_two(i, a, b);
    add(a, lane_group);
    add(b, lane_group + 1);
  }
  FOLDNORM_INLINE void one_pack(Index i, int lane_group) {
    Pack<C> const x = source_.first(i);
    source_.keep(i, x);
    add(x, lane_group);
  }
  FOLDNORM_INLINE void last_pack(Index i) {
    Pack<C> x = shift_;  // lanes that are not there add nothing
    if (size_ > width<C>) {
      source_.keep(size_ - width<C>, tail_);
      x = last_lanes<C>(size_ - i) ? tail_ : x;
    } else {
      for (Index lane = 0; lane < few(size_); ++lane) {
        x[lane] = source_(lane);
        source_.keep_one(lane, x[lane]);
      }
    }
    add(x, 1);
  }
  FOLDNORM_INLINE void add(Pack<C> x, int lane_group) {
    if constexpr (Norm::subtracts_mean) {
      x -= shift_;
      sum_[lane_group] += x;
    }
    squares_[lane_group] = multiply_add(x, x, squares_[lane_group]);
  }

  Source source_;
  Pack<C> shift_, tail_{};
  PackSum<C, packs_at_once * turns> sum_, squares_;
  Index size_, prefetch_;
};

// What Normalize needs to know of a sample. xhat = (x - high) * rstd + offset with offset = -low * rstd: the mean in
// two words, one rounding less than subtracting both.
template <class C>
struct SampleWords {
  Pack<C> high, offset, rstd;  // the same in every lane
};

template <class Norm, class C>
FOLDNORM_INLINE Pack<C> normalized(Pack<C> x, SampleWords<C> const& words) {
  if constexpr (Norm::subtracts_mean) {
    return multiply_add(x - words.high, words.rstd, words.offset);
  } else {
    return x * words.rstd;
  }
}

// Stores one pack of outputs; streamed ones are aligned, and no input of the call.
template <class T, class C>
FOLDNORM_INLINE void put(T* to, Pack<C> value, Traffic traffic) {
  if constexpr (real_scalar<T>) {
    if (traffic == Traffic::streamed) return stream(to, value);
  }
  store(to, value);
}

template <class T, class C>
FOLDNORM_INLINE void put_two(T* to, Pack<C> first, Pack<C> second, Traffic traffic) {
  if constexpr (real_scalar<T>) {
    put<T, C>(to, first, traffic);
    put<T, C>(to + width<C>, second, traffic);
  } else {
    store_two(to, first, second);
  }
}

// y may be the source's x or s where it is not streamed.
template <class Norm, class Source, class Gamma, class Beta>
class Normalize {
 public:
  using T = typename Source::Scalar;
  using C = typename Source::C;
  static constexpr int packs_at_once = 4;
  static constexpr int turns = Norm::subtracts_mean ? 1 : 2;

  FOLDNORM_INLINE Normalize(Source source, SampleWords<C> const& words, Gamma gamma, Beta beta, T* y, Index n,
                            Traffic traffic = Traffic::cached)
      : source_(source),
        gamma_(gamma),
        beta_(beta),
        y_(y),
        size_(n),
        lines_(whole_lines(y, n)),
        traffic_(traffic),
        words_(words) {
    if (n > width<C>) tail_ = source.again(n - width<C>);  // before it is overwritten in place
  }
  Index size() const { return lines_.end - lines_.begin; }

  FOLDNORM_INLINE void begin() {
    if (lines_.begin > 0) one_by_one(0, lines_.begin, source_.again(lines_.begin - width<C>));
  }
  template <int turn>
  FOLDNORM_INLINE void packs(Index i, Turn<turn>) {
    unrolled<packs_at_once / 2>([&](int pair) FOLDNORM_INLINE_LAMBDA {
      Index const at = lines_.begin + i + pair * 2 * width<C>;
      Pack<C> const a = result(source_.again(at, OfTwo<T, 0>{}), at, OfTwo<T, 0>{});
      Pack<C> const b = result(source_.again(at, OfTwo<T, 1>{}), at, OfTwo<T, 1>{});
      put_two<T, C>(y_ + at, a, b, traffic_);
    });
  }
  FOLDNORM_INLINE void settle() {}
  FOLDNORM_INLINE void finish(Index i) { one_by_one(lines_.begin + i, size_, tail_); }

 private:
  FOLDNORM_INLINE Pack<C> result(Pack<C> x, Index i, auto... of_two) const {
    return gain_and_shift<C>(normalized<Norm, C>(x, words_), gamma_, beta_, i, of_two...);
  }
  // Features i .. end - 1; `last` is the pack that ends there, some of which may be written twice.
  FOLDNORM_INLINE void one_by_one(Index i, Index end, Pack<C> last) {
    // A line must not be partly streamed and partly stored (line_buffer.hpp): packs that fit lines are all streamed.
    Traffic const traffic = size() == size_ ? traffic_ : Traffic::cached;
    for (; i + width<C> <= end; i += width<C>) put<T, C>(y_ + i, result(source_.again(i), i), traffic);
    if (i == end) return;
    if (end < width<C>) return few_features();
    store(y_ + end - width<C>, result(last, end - width<C>));
  }
  FOLDNORM_INLINE void few_features() {
    Pack<C> x{};
    Index const count = std::min<Index>(size_, width<C>);  // it is less; the compiler does not know
    for (Index lane = 0; lane < count; ++lane) x[lane] = source_.settled()(lane);
    FewFeatures{count}.store(
        y_, gain_and_shift<C>(normalized<Norm, C>(x, words_), padded<C>(gamma_, count), padded<C>(beta_, count), 0));
  }

  Source source_;
  Gamma gamma_;
  Beta beta_;
  T* y_;
  Index size_;
  WholeLines lines_;
  Traffic traffic_;
  SampleWords<C> words_;
  Pack<C> tail_{};
};

// Runs stages over whole steps from i up to end at most; returns where they stand. Sums are settled at the same
// features whether a sample goes there in one run or in several: how far it has company depends on where y lies.
template <class First, class... Others>
FOLDNORM_INLINE Index run_steps(Index i, Index end, First& first, Others&... others) {
  constexpr Index turn_size = First::packs_at_once * width<typename First::C>;
  constexpr Index step = First::turns * turn_size, block = terms_per_lane * step;
  while (i + step <= end) {
    if (i > 0 && i % block == 0) {
      first.settle();
      (others.settle(), ...);
    }
    Index const stop = std::min(end, i - i % block + block);
    for (; i + step <= stop; i += step) {
      unrolled_constants<First::turns>([&](auto t) FOLDNORM_INLINE_LAMBDA {
        first.packs(i + t * turn_size, Turn<t>{});
        (others.packs(i + t * turn_size, Turn<t>{}), ...);
      });
    }
  }
  return i;
}

// Runs stages side by side as far as the shortest goes, and each to its end. All take turns of the same size, and as
// many a step.
template <class First, class... Others>
FOLDNORM_INLINE void run(First& first, Others&... others) {
  first.begin();
  (others.begin(), ...);
  Index const common = run_steps(0, std::min({first.size(), others.size()...}), first, others...);
  first.finish(run_steps(common, first.size(), first));
  (others.finish(run_steps(common, others.size(), others)), ...);
}

}  // namespace foldnorm::detail
