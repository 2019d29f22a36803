// SPDX-License-Identifier: MIT
// foldnorm/core/pack_half.hpp -- half and bfloat16 in memory, float in packs.
//
// Conversions are the machine's own where it has them (F16C, AVX-512, NEON), and Eigen's, lane by lane, elsewhere.
// Stores round to nearest, ties to even, and keep NaN.
#pragma once

#include <foldnorm/core/pack.hpp>

#include <cstdint>
#include <cstring>

namespace foldnorm::detail {

typedef std::uint16_t HalfWords __attribute__((vector_size(pack_bytes / 2)));
typedef std::uint32_t FloatWords __attribute__((vector_size(pack_bytes)));

// Lane by lane. Out of line: inlined wherever a kernel loads or stores, they make it some hundred instructions longer.
__attribute__((noinline)) inline FloatPack load_lanes(Eigen::half const* from) {
  FloatPack value;
  for (int lane = 0; lane < width<float>; ++lane) value[lane] = static_cast<float>(from[lane]);
  return value;
}
__attribute__((noinline)) inline void store_lanes(Eigen::half* to, FloatPack value) {
  for (int lane = 0; lane < width<float>; ++lane) to[lane] = static_cast<Eigen::half>(value[lane]);
}

FOLDNORM_INLINE FloatPack load(Eigen::half const* from) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<__m256i const*>(from)));
#elif defined(__AVX__) && defined(__F16C__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<__m128i const*>(from)));
#elif defined(__aarch64__)
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<std::uint16_t const*>(from))));
#else
  return load_lanes(from);
#endif
}

FOLDNORM_INLINE void store(Eigen::half* to, FloatPack value) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX__) && defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__aarch64__)
  vst1_u16(reinterpret_cast<std::uint16_t*>(to), vreinterpret_u16_f16(vcvt_f16_f32(value)));
#else
  store_lanes(to, value);
#endif
}

// A bfloat16 is the upper half of a float. Widening and narrowing are spelled out where g++ 12 takes detours.
FOLDNORM_INLINE FloatPack load(Eigen::bfloat16 const* from) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  __m128i const words = _mm_loadu_si128(reinterpret_cast<__m128i const*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
#else
  HalfWords words;
  std::memcpy(&words, from, sizeof words);
  FloatWords const bits = __builtin_convertvector(words, FloatWords) << 16;
  FloatPack value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

FOLDNORM_INLINE void store(Eigen::bfloat16* to, FloatPack value) {
  FloatWords bits;
  std::memcpy(&bits, &value, sizeof bits);
  FloatWords const nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // half a step, less one bit for even targets
  FloatWords const quiet_nan = FloatWords{} + 0x7fc0;
  FloatWords const rounded = value == value ? nearest : quiet_nan;
#if defined(__AVX2__) && !defined(__AVX512F__)
  __m256i const packed = _mm256_packus_epi32(reinterpret_cast<__m256i>(rounded), reinterpret_cast<__m256i>(rounded));
  __m256i const in_order = _mm256_permute4x64_epi64(packed, 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(in_order));
#else
  HalfWords const words = __builtin_convertvector(rounded, HalfWords);
  std::memcpy(static_cast<void*>(to), &words, sizeof words);
#endif
}

// The value that T can hold nearest to each lane.
template <storage_scalar T>
FOLDNORM_INLINE Pack<Compute<T>> rounded_to(Pack<Compute<T>> value) {
  if constexpr (real_scalar<T>) {
    return value;
  } else {
    T stored[width<float>];
    store(stored, value);
    return load(stored);
  }
}

}  // namespace foldnorm::detail
