// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/lane_sums.hpp -- sums across the lanes of several packs at once, and the way back.
//
//   packs:     a a a a | A A A A      b b b b | B B B B      (segments of 4 lanes, D = 4 packs: c, d likewise)
//   sums:      a b c d | A B C D      one lane for each segment of each pack
//   spread:    b b b b | B B B B      and back to all lanes of the segment
//
// Summing D packs together takes D - 1 shuffles and additions; one at a time would take D log2(D).
#pragma once

#include <foldnorm/core/pack.hpp>

namespace foldnorm::detail {

template <int distance>
struct Partner {
  constexpr int operator()(int i) const { return i ^ distance; }
};
// The lanes whose index has the bit `distance`, as bits.
constexpr unsigned lanes_with(int distance) {
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= i & distance ? 1u << i : 0;
  return bits;
}
template <int segment, int lane>
struct SegmentLane {
  constexpr int operator()(int i) const { return i / segment * segment + lane; }
};

// Lane i of the result is the sum of segment i / D of pack i % D. D is a power of two up to width<C>; the packs are
// used up. The order of the additions depends on D alone, and equal lanes sum to exactly D times their value.
template <class C, int D>
FOLDNORM_INLINE Pack<C> segment_sums(Pack<C> (&packs)[D]) {
  if constexpr (D == 1) {
    return packs[0];
  } else {
    constexpr int half = D / 2;
    Pack<C> merged[half];
    constexpr unsigned from_second = lanes_with(half) & ((1ull << width<C>)-1);
    constexpr unsigned from_first = ~from_second & ((1ull << width<C>)-1);
    unrolled<half>([&](auto p) FOLDNORM_INLINE_LAMBDA {
      Pack<C> const a = packs[p], b = packs[p + half];
      Pack<C> const partners = blend<C, from_first>(a, b);  // of the lanes of the first blend
      merged[p] = blend<C, from_second>(a, b) + shuffle<C>(partners, partners, Partner<half>{});
    });
    return segment_sums<C, half>(merged);
  }
}

// Lane r of every segment of D lanes, in all lanes of its segment: the way back from segment_sums.
template <class C, int D>
class Spread {
 public:
  FOLDNORM_INLINE explicit Spread(Pack<C> sums) : sums_(sums) {
    if constexpr (D == width<C>) {
      store(lanes_, sums);
      asm("" : "+m"(lanes_));  // keeps the compiler from taking lanes out of the register again
    }
  }
  // Where a lane goes to the whole pack, by a load that broadcasts: it costs nothing that the arithmetic needs, while
  // across the halves of a register a shuffle is two instructions on the busiest port.
  template <int r>
  FOLDNORM_INLINE Pack<C> lane() const {
    if constexpr (D == width<C>) {
      return broadcast(lanes_[r]);
    } else {
      return shuffle<C>(sums_, sums_, SegmentLane<D, r>{});
    }
  }

 private:
  Pack<C> sums_;
  alignas(pack_bytes) C lanes_[width<C>];
};

// The sum of all lanes, in every lane.
template <class C, int distance = width<C> / 2>
FOLDNORM_INLINE Pack<C> lane_sum(Pack<C> pack) {
  if constexpr (distance == 0) {
    return pack;
  } else {
    return lane_sum<C, distance / 2>(pack + shuffle<C>(pack, pack, Partner<distance>{}));
  }
}

}  // namespace foldnorm::detail
