// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/source.hpp -- what a norm reads of one sample: x, or a residual sum s = x + alpha * r.
//
// A kernel reads every sample twice: first(i), followed by keep(i, value), for the moments; again(i) for the output; a
// pack at i, or with OfTwo one of the two packs at i (core/pack_half.hpp).
// source(i) is one value; settled() reads the sample after its first reading, when s may have replaced x. A sum is
// rounded to the storage type each time, so that no result depends on whether s is kept. from(k) starts at feature k.
#pragma once

#include <foldnorm/core/pack_half.hpp>

namespace foldnorm::detail {

template <storage_scalar T>
struct Plain {
  using Scalar = T;
  using C = Compute<T>;
  T const* x;

  C operator()(Index i) const { return static_cast<C>(x[i]); }
  FOLDNORM_INLINE Pack<C> first(Index i, auto... of_two) const { return load(x + i, of_two...); }
  FOLDNORM_INLINE void keep(Index, Pack<C>) const {}
  FOLDNORM_INLINE void keep_two(Index, Pack<C>, Pack<C>) const {}
  FOLDNORM_INLINE void keep_one(Index, C) const {}
  FOLDNORM_INLINE Pack<C> again(Index i, auto... of_two) const { return load(x + i, of_two...); }
  FOLDNORM_INLINE void expect(Index i) const { prefetch(x + i); }
  Plain settled() const { return *this; }
  Plain from(Index k) const { return {x + k}; }
};

// s is not kept: computed twice, which is cheaper than a trip to memory.
template <storage_scalar T>
struct PassingSum {
  using Scalar = T;
  using C = Compute<T>;
  T const* x;
  T const* r;
  C alpha;

  C operator()(Index i) const {  // by packs, so that it is rounded as they are
    Pack<C> const sum =
        multiply_add(broadcast(alpha), broadcast(static_cast<C>(r[i])), broadcast(static_cast<C>(x[i])));
    return static_cast<C>(static_cast<T>(sum[0]));
  }
  FOLDNORM_INLINE Pack<C> first(Index i, auto... of_two) const {
    return rounded_to<T>(multiply_add(broadcast(alpha), load(r + i, of_two...), load(x + i, of_two...)));
  }
  FOLDNORM_INLINE void keep(Index, Pack<C>) const {}
  FOLDNORM_INLINE void keep_two(Index, Pack<C>, Pack<C>) const {}
  FOLDNORM_INLINE void keep_one(Index, C) const {}
  FOLDNORM_INLINE Pack<C> again(Index i, auto... of_two) const { return first(i, of_two...); }
  FOLDNORM_INLINE void expect(Index i) const {
    prefetch(x + i);
    prefetch(r + i);
  }
  PassingSum settled() const { return *this; }
  PassingSum from(Index k) const { return {x + k, r + k, alpha}; }
};

template <storage_scalar T>
struct KeptSum {
  using Scalar = T;
  using C = Compute<T>;
  PassingSum<T> sum;
  T* s;

  C operator()(Index i) const { return sum(i); }
  FOLDNORM_INLINE Pack<C> first(Index i, auto... of_two) const { return sum.first(i, of_two...); }
  FOLDNORM_INLINE void keep(Index i, Pack<C> value) const { store(s + i, value); }
  FOLDNORM_INLINE void keep_two(Index i, Pack<C> a, Pack<C> b) const { store_two(s + i, a, b); }
  FOLDNORM_INLINE void keep_one(Index i, C value) const { s[i] = static_cast<T>(value); }
  FOLDNORM_INLINE Pack<C> again(Index i, auto... of_two) const { return load(s + i, of_two...); }
  FOLDNORM_INLINE void expect(Index i) const { sum.expect(i); }
  Plain<T> settled() const { return {s}; }
  KeptSum from(Index k) const { return {sum.from(k), s + k}; }
};

}  // namespace foldnorm::detail
