// SPDX-License-Identifier: MIT
#include <foldnorm/kernels/detail/lane_sums.hpp>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "catch.hpp"

namespace {

using namespace foldnorm::detail;

// Packs with values of their own in every lane; whole numbers, so that their sums are exact in any order.
template <class C, int D>
struct Packs {
  Pack<C> packs[D];
  explicit Packs(unsigned seed) {
    std::mt19937 engine(seed);
    std::uniform_int_distribution<int> draw(-1000, 1000);
    for (auto& pack : packs) {
      for (int i = 0; i < width<C>; ++i) pack[i] = static_cast<C>(draw(engine));
    }
  }
};

template <class C, int D>
void check_segment_sums() {
  Packs<C, D> const original(100 + D);
  Packs<C, D> used = original;
  Pack<C> const sums = segment_sums<C>(used.packs);
  for (int i = 0; i < width<C>; ++i) {
    INFO("D " << D << ", lane " << i);
    C expected = 0;
    for (int lane = 0; lane < D; ++lane) expected += original.packs[i % D][i / D * D + lane];
    CHECK(sums[i] == expected);
  }
  Spread<C, D> const spread(sums);
  unrolled_constants<D>([&](auto p) {
    Pack<C> const back = spread.lane(p);
    for (int i = 0; i < width<C>; ++i) CHECK(back[i] == sums[i / D * D + p]);
  });

  // Equal lanes sum to exactly D times their value: a constant sample's K is the constant.
  C const third = C(1) / 3;
  for (auto& pack : used.packs) pack = broadcast(third);
  Pack<C> const constant = segment_sums<C>(used.packs);
  for (int i = 0; i < width<C>; ++i) CHECK(constant[i] == D * third);
}

}  // namespace

TEMPLATE_TEST_CASE("lane_sums: every segment of every pack is summed into its own lane, and spread back", "", float,
                   double) {
  [&]<int... power>(std::integer_sequence<int, power...>) { (check_segment_sums<TestType, 1 << power>(), ...); }
  (std::make_integer_sequence<int, std::bit_width(unsigned(width<TestType>))>{});
}

TEMPLATE_TEST_CASE("lane_sums: a segment's sum does not depend on its lane nor on its neighbours", "", float, double) {
  using C = TestType;
  std::mt19937 engine(5);
  std::normal_distribution<double> draw;
  constexpr int D = 2;
  C const a = static_cast<C>(draw(engine)), b = static_cast<C>(draw(engine));
  Packs<C, D> packs(6);
  for (auto& pack : packs.packs) {
    for (int i = 0; i < width<C>; ++i) pack[i] = i % 2 ? b : a;
  }
  packs.packs[1][width<C> - 1] = std::numeric_limits<C>::quiet_NaN();
  Pack<C> const sums = segment_sums<C>(packs.packs);
  for (int i = 0; i + 1 < width<C>; ++i) CHECK(sums[i] == a + b);
  CHECK(std::isnan(sums[width<C> - 1]));
}

TEMPLATE_TEST_CASE("lane_sums: lane_sum is the sum of all lanes, in every lane", "", float, double) {
  using C = TestType;
  Packs<C, 1> const packs(7);
  Pack<C> const sum = lane_sum<C>(packs.packs[0]), constant = lane_sum<C>(broadcast(C(1) / 3));
  C expected = 0;
  for (int i = 0; i < width<C>; ++i) expected += packs.packs[0][i];
  for (int i = 0; i < width<C>; ++i) {
    CHECK(sum[i] == expected);
    CHECK(constant[i] == width<C> * (C(1) / 3));
  }
}
