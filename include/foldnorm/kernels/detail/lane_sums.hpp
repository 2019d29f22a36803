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
// Two packs side by side: of both, the lanes without the bit `distance`; of both, the lanes with it.
template <int width, int distance>
struct LowerLanes {
  constexpr int operator()(int i) const { return i & distance ? width + (i ^ distance) : i; }
};
template <int width, int distance>
struct UpperLanes {
  constexpr int operator()(int i) const { return i & distance ? width + i : i ^ distance; }
};
// In every four lanes: of both packs, the lanes with an even index (offset 0), or with an odd one (1).
template <int width, int offset>
struct AlternateLanes {
  constexpr int operator()(int i) const { return (i & 2 ? width : 0) + i / 4 * 4 + i % 2 * 2 + offset; }
};
template <int segment, int lane>
struct SegmentLane {
  constexpr int operator()(int i) const { return i / segment * segment + lane; }
};

// The sum of a and b in half the lanes each.
template <class C, int distance>
FOLDNORM_INLINE Pack<C> halves_added(Pack<C> a, Pack<C> b) {
  return shuffle<C>(a, b, LowerLanes<width<C>, distance>{}) + shuffle<C>(a, b, UpperLanes<width<C>, distance>{});
}

// Lane i of the result is the sum of segment i / D of pack i % D. D is a power of two up to width<C>; the packs are
// used up. The order of the additions depends on D alone, and equal lanes sum to exactly D times their value.
template <class C, int D>
FOLDNORM_INLINE Pack<C> segment_sums(Pack<C> (&packs)[D]) {
  if constexpr (D == 1) {
    return packs[0];
  } else if constexpr (D == 2) {
    return halves_added<C, 1>(packs[0], packs[1]);
  } else if constexpr (D == 4) {
    // Both steps are one instruction a shuffle on x86, which halves_added<1> is not.
    Pack<C> const a = halves_added<C, 2>(packs[0], packs[1]), b = halves_added<C, 2>(packs[2], packs[3]);
    return shuffle<C>(a, b, AlternateLanes<width<C>, 0>{}) + shuffle<C>(a, b, AlternateLanes<width<C>, 1>{});
  } else {
    constexpr int half = D / 2;
    Pack<C> merged[half];
    unrolled<half>([&](int p) FOLDNORM_INLINE_LAMBDA { merged[p] = halves_added<C, half>(packs[p], packs[p + half]); });
    return segment_sums<C, half>(merged);
  }
}

// Lane r of every segment of D lanes, in all lanes of its segment: the way back from segment_sums.
template <class C, int D>
class Spread {
 public:
  FOLDNORM_INLINE explicit Spread(Pack<C> sums) : sums_(sums) {}
  template <int r>
  FOLDNORM_INLINE Pack<C> lane(std::integral_constant<int, r>) const {
    return shuffle<C>(sums_, sums_, SegmentLane<D, r>{});
  }

 private:
  Pack<C> sums_;
};
// Where a lane goes to the whole pack, by a load that broadcasts: it costs nothing that the arithmetic needs, while
// across the halves of a register a shuffle is two instructions on the busiest port.
template <class C, int D>
requires(D == width<C>) class Spread<C, D> {
 public:
  FOLDNORM_INLINE explicit Spread(Pack<C> sums) {
    store(lanes_, sums);
    asm("" : "+m"(lanes_));  // keeps the compiler from taking lanes out of the register again
  }
  FOLDNORM_INLINE Pack<C> lane(int r) const { return broadcast(lanes_[r]); }

 private:
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
