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

FOLDNORM_INLINE FloatWords words_of(FloatPack value) {
  FloatWords words;
  std::memcpy(&words, &value, sizeof words);
  return words;
}
FOLDNORM_INLINE FloatPack floats_of(FloatWords words) {
  FloatPack value;
  std::memcpy(&value, &words, sizeof value);
  return value;
}

// A bfloat16 is the upper half of a float. Widening and narrowing are spelled out where g++ 12 takes detours.
FOLDNORM_INLINE FloatPack load(Eigen::bfloat16 const* from) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  __m128i const words = _mm_loadu_si128(reinterpret_cast<__m128i const*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
#else
  HalfWords words;
  std::memcpy(&words, from, sizeof words);
  return floats_of(__builtin_convertvector(words, FloatWords) << 16);
#endif
}

inline constexpr std::uint32_t upper_half = 0xffff0000, quiet_nan = 0x7fc00000;
// A bfloat16 in the upper half of each lane; below it lies anything.
FOLDNORM_INLINE FloatWords rounded_words(FloatPack value) {
  FloatWords const words = words_of(value);
  // Half a step, less one bit for even targets.
#if defined(__AVX512F__)
  auto const bits = reinterpret_cast<__m512i>(words);
  __mmask16 const number = _mm512_cmp_ps_mask(value, value, _CMP_ORD_Q);
  __mmask16 const odd = _mm512_mask_test_epi32_mask(number, bits, _mm512_set1_epi32(0x10000));
  __m512i const nearly = _mm512_mask_add_epi32(_mm512_set1_epi32(quiet_nan), number, bits, _mm512_set1_epi32(0x7fff));
  return reinterpret_cast<FloatWords>(_mm512_mask_add_epi32(nearly, odd, nearly, _mm512_set1_epi32(1)));
#else
  FloatWords const nearest = words + 0x7fff + ((words >> 16) & 1);
  return value == value ? nearest : FloatWords{} + quiet_nan;
#endif
}

FOLDNORM_INLINE void store(Eigen::bfloat16* to, FloatPack value) {
  FloatWords const rounded = rounded_words(value) >> 16;
#if defined(__AVX2__) && !defined(__AVX512F__)
  __m256i const packed = _mm256_packus_epi32(reinterpret_cast<__m256i>(rounded), reinterpret_cast<__m256i>(rounded));
  __m256i const in_order = _mm256_permute4x64_epi64(packed, 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(in_order));
#else
  HalfWords const words = __builtin_convertvector(rounded, HalfWords);
  std::memcpy(static_cast<void*>(to), &words, sizeof words);
#endif
}

// Pack k = 0 or 1 of the two that 2 * width values of a matrix over T make. Two packs of bfloat16 are the values with
// even and with odd index, which a shift and a mask tell apart; neighbours would take shuffles both ways.
template <storage_scalar T, int k>
struct OfTwo {};
template <int k>
struct EveryOther {
  constexpr int operator()(int i) const { return 2 * i + k; }
};

// The values may be a parameter's, in the type computed in.
template <storage_scalar P, storage_scalar T, int k>
FOLDNORM_INLINE Pack<Compute<T>> load(P const* from, OfTwo<T, k>) {
  if constexpr (!std::same_as<T, Eigen::bfloat16>) {
    return load(from + k * width<Compute<T>>);
  } else if constexpr (std::same_as<P, float>) {
    return shuffle<float>(load(from), load(from + width<float>), EveryOther<k>{});
  } else {
    FloatWords both;
    std::memcpy(&both, from, sizeof both);
    return floats_of(k == 0 ? both << 16 : both & upper_half);
  }
}
// A NaN that arithmetic gave, a quiet one, is stored as NaN.
template <storage_scalar T>
FOLDNORM_INLINE void store_two(T* to, Pack<Compute<T>> first, Pack<Compute<T>> second) {
  if constexpr (!std::same_as<T, Eigen::bfloat16>) {
    store(to, first);
    store(to + width<Compute<T>>, second);
  } else {
#if defined(__AVX2__) && !defined(__AVX512F__)
    __m256i const even = _mm256_castps_si256(first), odd = _mm256_castps_si256(second);
    __m256i const upper = _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xaa);
    __m256i const lower = _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa);
    __m256i const half_step =
        _mm256_add_epi16(_mm256_and_si256(upper, _mm256_set1_epi16(1)), _mm256_set1_epi16(0x7ffe));
    __m256i const carry = _mm256_srli_epi16(_mm256_avg_epu16(lower, half_step), 15);
    // Where the sum would carry NaN into the sign, one of the two saturates.
    __m256i const sum = _mm256_or_si256(_mm256_adds_epi16(upper, carry), _mm256_adds_epu16(upper, carry));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sum);
#else
    FloatWords const both = (rounded_words(first) >> 16) | (rounded_words(second) & upper_half);
    std::memcpy(static_cast<void*>(to), &both, sizeof both);
#endif
  }
}

// The value that T can hold nearest to each lane.
template <storage_scalar T>
FOLDNORM_INLINE Pack<Compute<T>> rounded_to(Pack<Compute<T>> value) {
  if constexpr (real_scalar<T>) {
    return value;
  } else if constexpr (std::same_as<T, Eigen::bfloat16>) {
    return floats_of(rounded_words(value) & upper_half);
  } else {
    T stored[width<float>];
    store(stored, value);
    return load(stored);
  }
}

}  // namespace foldnorm::detail
