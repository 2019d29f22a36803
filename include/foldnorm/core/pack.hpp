// SPDX-License-Identifier: MIT
// foldnorm/core/pack.hpp -- the vector layer: as many floats or doubles as fit one register, and what kernels do to
// them.
//
// A Pack is a vector type of GCC and Clang: + - * /, comparisons and ?: are the language's own, on every instruction
// set from one source. What the language lacks is here: loads and stores at any address, multiply-add in one rounding
// where the machine has it, square root, and sums across lanes. docs/design.md says why not another layer.
#pragma once

#include <foldnorm/core/types.hpp>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#if !defined(__GNUC__)
#error "foldnorm's kernels use the vector types of GCC and Clang: compile with one of them"
#endif

namespace foldnorm::detail {

#if defined(__AVX512F__)
inline constexpr int pack_bytes = 64;
#elif defined(__AVX__)
inline constexpr int pack_bytes = 32;
#else
inline constexpr int pack_bytes = 16;
#endif

typedef float FloatPack __attribute__((vector_size(pack_bytes)));
typedef double DoublePack __attribute__((vector_size(pack_bytes)));

// C is float or double, the type a kernel computes in.
template <class C>
using Pack = std::conditional_t<std::same_as<C, float>, FloatPack, DoublePack>;
template <class C>
inline constexpr int width = pack_bytes / static_cast<int>(sizeof(C));
// What a comparison of two packs gives: all bits of a lane set, or none.
template <class C>
using PackMask = decltype(Pack<C>{} < Pack<C>{});

template <class C>
FOLDNORM_INLINE Pack<C> broadcast(C value) {
  return value - Pack<C>{};  // one instruction; keeps -0, as value + 0 would not
}

template <real_scalar C>
FOLDNORM_INLINE Pack<C> load(C const* from) {
  Pack<C> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <real_scalar C>
FOLDNORM_INLINE void store(C* to, Pack<C> value) {
  std::memcpy(to, &value, sizeof value);
}

FOLDNORM_INLINE void prefetch(void const* address) { __builtin_prefetch(address); }
// `bytes` from `address` on, to be written soon.
template <int bytes>
FOLDNORM_INLINE void prefetch_to_write(void const* address) {
  for (int i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<char const*>(address) + i, 1);
}

// a * b + c with one rounding where the machine can, so that no result hangs on what a compiler chooses to contract.
// stream: a store past the caches, `to` aligned to pack_bytes; stream_fence() before another thread reads it.
#if defined(__AVX512F__)
FOLDNORM_INLINE FloatPack multiply_add(FloatPack a, FloatPack b, FloatPack c) { return _mm512_fmadd_ps(a, b, c); }
FOLDNORM_INLINE DoublePack multiply_add(DoublePack a, DoublePack b, DoublePack c) { return _mm512_fmadd_pd(a, b, c); }
#elif defined(__AVX__) && defined(__FMA__)
FOLDNORM_INLINE FloatPack multiply_add(FloatPack a, FloatPack b, FloatPack c) { return _mm256_fmadd_ps(a, b, c); }
FOLDNORM_INLINE DoublePack multiply_add(DoublePack a, DoublePack b, DoublePack c) { return _mm256_fmadd_pd(a, b, c); }
#elif defined(__aarch64__)
FOLDNORM_INLINE FloatPack multiply_add(FloatPack a, FloatPack b, FloatPack c) { return vfmaq_f32(c, a, b); }
FOLDNORM_INLINE DoublePack multiply_add(DoublePack a, DoublePack b, DoublePack c) { return vfmaq_f64(c, a, b); }
#else
FOLDNORM_INLINE FloatPack multiply_add(FloatPack a, FloatPack b, FloatPack c) { return a * b + c; }
FOLDNORM_INLINE DoublePack multiply_add(DoublePack a, DoublePack b, DoublePack c) { return a * b + c; }
#endif

FOLDNORM_INLINE double multiply_add(double a, double b, double c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

FOLDNORM_INLINE double square_root(double value) { return std::sqrt(value); }
#if defined(__AVX512F__)
// The same instruction as without a mask; there g++ 12 warns of an undefined vector of its own.
FOLDNORM_INLINE FloatPack square_root(FloatPack v) { return _mm512_maskz_sqrt_ps(__mmask16(-1), v); }
FOLDNORM_INLINE DoublePack square_root(DoublePack v) { return _mm512_maskz_sqrt_pd(__mmask8(-1), v); }
FOLDNORM_INLINE void stream(float* to, FloatPack v) { _mm512_stream_ps(to, v); }
FOLDNORM_INLINE void stream(double* to, DoublePack v) { _mm512_stream_pd(to, v); }
#elif defined(__AVX__)
FOLDNORM_INLINE FloatPack square_root(FloatPack v) { return _mm256_sqrt_ps(v); }
FOLDNORM_INLINE DoublePack square_root(DoublePack v) { return _mm256_sqrt_pd(v); }
FOLDNORM_INLINE void stream(float* to, FloatPack v) { _mm256_stream_ps(to, v); }
FOLDNORM_INLINE void stream(double* to, DoublePack v) { _mm256_stream_pd(to, v); }
#elif defined(__SSE2__)
FOLDNORM_INLINE FloatPack square_root(FloatPack v) { return _mm_sqrt_ps(v); }
FOLDNORM_INLINE DoublePack square_root(DoublePack v) { return _mm_sqrt_pd(v); }
FOLDNORM_INLINE void stream(float* to, FloatPack v) { _mm_stream_ps(to, v); }
FOLDNORM_INLINE void stream(double* to, DoublePack v) { _mm_stream_pd(to, v); }
#else
template <class P>
FOLDNORM_INLINE P square_root(P v) {
  for (std::size_t lane = 0; lane < sizeof v / sizeof v[0]; ++lane) v[lane] = std::sqrt(v[lane]);
  return v;
}
template <class C>
FOLDNORM_INLINE void stream(C* to, Pack<C> v) {
  store(to, v);
}
#endif
FOLDNORM_INLINE void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Calls body(0), ..., body(count - 1), one after the other; in a FOLDNORM_INLINE_LAMBDA these are constants. A loop
// over packs must be unrolled by hand: with a running index an array of packs lives in memory.
template <int count, class Body>
FOLDNORM_INLINE void unrolled(Body body) {
  [&]<int... i>(std::integer_sequence<int, i...>) FOLDNORM_INLINE_LAMBDA { (body(i), ...); }
  (std::make_integer_sequence<int, count>{});
}
// The same with body(std::integral_constant<int, 0>{}), ..., for what must be known to compile it: `body` is then
// compiled anew for each, which where loops are nested takes seconds.
template <int count, class Body>
FOLDNORM_INLINE void unrolled_constants(Body body) {
  [&]<int... i>(std::integer_sequence<int, i...>) FOLDNORM_INLINE_LAMBDA {
    (body(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, count>{});
}

// Lane i of the result is lane index(i) of a, or, from width on, of b. The function object holds no data.
template <class C, class LaneIndex>
FOLDNORM_INLINE Pack<C> shuffle(Pack<C> a, Pack<C> b, LaneIndex) {
  return [&]<int... i>(std::integer_sequence<int, i...>) FOLDNORM_INLINE_LAMBDA {
    return __builtin_shufflevector(a, b, LaneIndex{}(i)...);
  }
  (std::make_integer_sequence<int, width<C>>{});
}

// Is a mask set in every lane?
template <class Mask>
FOLDNORM_INLINE bool all_lanes(Mask mask) {
  std::uint64_t words[pack_bytes / 8];
  std::memcpy(words, &mask, sizeof words);
  std::uint64_t all = words[0];
  for (std::uint64_t word : words) all &= word;
  return all == ~std::uint64_t{0};
}

}  // namespace foldnorm::detail
