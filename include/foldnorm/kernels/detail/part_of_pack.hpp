// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/part_of_pack.hpp -- how the pack at some feature is read and written: whole, in part, or from
// a sample that has fewer features than a pack has lanes.
#pragma once

#include <foldnorm/core/pack_half.hpp>

#include <algorithm>
#include <array>
#include <cstdint>

namespace foldnorm::detail {

// All bits of the last `count` lanes.
template <class C>
FOLDNORM_INLINE PackMask<C> last_lanes(Index count) {
  static constexpr auto zeros_then_ones = [] {
    std::array<C, 2 * width<C>> values{};
    for (std::size_t i = width<C>; i < values.size(); ++i) values[i] = 1;
    return values;
  }();
  return load(zeros_then_ones.data() + count) != Pack<C>{};
}

struct WholePack {
  template <class T>
  FOLDNORM_INLINE Pack<Compute<T>> load(T const* from) const {
    return detail::load(from);
  }
  template <class T>
  FOLDNORM_INLINE void store(T* to, Pack<Compute<T>> value) const {
    detail::store(to, value);
  }
};

// Some lanes of a pack: the others read as 0, which adds nothing to any sum, and keep their memory when written.
template <class C>
struct PartOfPack {
  PackMask<C> lanes;
  Index before;  // lanes before the first that counts

  static FOLDNORM_INLINE PartOfPack last(Index count) { return {last_lanes<C>(count), width<C> - count}; }

  template <class T>
  FOLDNORM_INLINE Pack<C> load(T const* from) const {
    return lanes ? detail::load(from - before) : Pack<C>{};
  }
  template <class T>
  FOLDNORM_INLINE void store(T* to, Pack<C> value) const {
    detail::store(to - before, lanes ? value : detail::load(to - before));
  }
};

struct FewFeatures {
  Index count;

  template <class T>
  FOLDNORM_INLINE Pack<Compute<T>> load(T const* from) const {
    Pack<Compute<T>> value{};
    for (Index i = 0; i < std::min<Index>(count, width<Compute<T>>); ++i) value[i] = static_cast<Compute<T>>(from[i]);
    return value;
  }
  template <class T>
  FOLDNORM_INLINE void store(T* to, Pack<Compute<T>> value) const {
    for (Index i = 0; i < std::min<Index>(count, width<Compute<T>>); ++i) to[i] = static_cast<T>(value[i]);
  }
};

// Calls use(i, part) for features i .. n - 1 of a sample of n, a pack at a time.
template <class C, class Use>
FOLDNORM_INLINE void remaining_packs(Index i, Index n, Use use) {
  if (n < width<C>) return use(i, FewFeatures{n});
  for (; i + width<C> <= n; i += width<C>) use(i, WholePack{});
  if (i < n) use(i, PartOfPack<C>::last(n - i));
}

// Values of T between the beginning of a cache's line (64 bytes) and an address in it.
template <class T>
Index past_line(T const* address) {
  return static_cast<Index>(reinterpret_cast<std::uintptr_t>(address) % 64 / sizeof(T));
}

// Would the packs of a sample of n, from feature 0 on, cross lines, or the last of them not be whole?
template <class T>
bool packs_cross_lines(T const* to, Index n) {
  constexpr Index pack = width<Compute<T>> * static_cast<Index>(sizeof(T));
  auto const address = static_cast<Index>(reinterpret_cast<std::uintptr_t>(to));
  return address % pack != 0 || n * static_cast<Index>(sizeof(T)) % pack != 0;
}

// The features begin .. end - 1 of a sample of n, written to `to`, that are best written a pack at a time: all where
// packs cross no line, or T is converted (its parameters may be copies that begin with feature 0); else those that fill
// lines.
//
// A pack that crosses from one line to the next is stored at half the speed or less: RMSNorm of 769 x 128 floats took
// 1.3 times as long. A line that is partly streamed is far worse (line_buffer.hpp), so that the parts of a line at
// either end have a line of ordinary stores beside them, which theirs may overlap.
struct WholeLines {
  Index begin, end;
};
inline constexpr Index bytes_worth_lines = 20 * 64;  // of shorter samples too much is at the ends
template <class T>
WholeLines whole_lines(T const* to, Index n) {
  constexpr Index size = sizeof(T), line = 64 / size;
  if (!real_scalar<T> || n * size < bytes_worth_lines || !packs_cross_lines(to, n)) return {0, n};
  Index const begin = past_line(to) == 0 ? 0 : 2 * line - past_line(to);
  Index const behind = (n - begin) % line;
  return {begin, behind == 0 ? n : n - behind - line};
}

}  // namespace foldnorm::detail
