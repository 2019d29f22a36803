// SPDX-License-Identifier: MIT
#include <foldnorm/core/pack.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "catch.hpp"

namespace {

using namespace foldnorm::detail;
using foldnorm::Index;

template <class C>
std::vector<C> random_values(std::size_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> draw;
  std::vector<C> values(count);
  for (C& v : values) v = static_cast<C>(draw(engine));
  return values;
}
template <class C>
Pack<C> counting(C first) {
  Pack<C> pack{};
  for (int i = 0; i < width<C>; ++i) pack[i] = first + static_cast<C>(i);
  return pack;
}

struct OddLanes {
  constexpr int operator()(int i) const { return 2 * i + 1; }
};

}  // namespace

TEMPLATE_TEST_CASE("pack: loads and stores a pack's worth at any address, and nothing beside it", "", float, double) {
  using C = TestType;
  static_assert(width<C> * int(sizeof(C)) == pack_bytes && sizeof(Pack<C>) == pack_bytes);
  auto const from = random_values<C>(std::size_t(4 * width<C>), 1);
  for (int offset = 0; offset < 2 * width<C>; ++offset) {
    INFO("offset " << offset);
    Pack<C> const pack = load(from.data() + offset);
    for (int i = 0; i < width<C>; ++i) CHECK(pack[i] == from[std::size_t(offset + i)]);
    std::vector<C> to(std::size_t(4 * width<C>), C(42));
    store(to.data() + offset, pack);
    for (int i = 0; i < 4 * width<C>; ++i) {
      bool const inside = i >= offset && i < offset + width<C>;
      CHECK(to[std::size_t(i)] == (inside ? from[std::size_t(i)] : C(42)));
    }
  }
}

TEMPLATE_TEST_CASE("pack: a stream writes what a store does", "", float, double) {
  alignas(pack_bytes) TestType to[3 * width<TestType>] = {};
  stream(to + width<TestType>, counting(TestType(1)));
  stream_fence();
  for (int i = 0; i < width<TestType>; ++i) {
    CHECK(to[i] == 0);
    CHECK(to[width<TestType> + i] == TestType(1 + i));
    CHECK(to[2 * width<TestType> + i] == 0);
  }
}

TEMPLATE_TEST_CASE("pack: a broadcast keeps the sign of zero, infinity and NaN", "", float, double) {
  using C = TestType;
  for (int i = 0; i < width<C>; ++i) {
    CHECK(std::signbit(broadcast(C(-0.0))[i]));
    CHECK_FALSE(std::signbit(broadcast(C(0.0))[i]));
    CHECK(broadcast(std::numeric_limits<C>::infinity())[i] == std::numeric_limits<C>::infinity());
    CHECK(std::isnan(broadcast(std::numeric_limits<C>::quiet_NaN())[i]));
    CHECK(broadcast(std::numeric_limits<C>::denorm_min())[i] == std::numeric_limits<C>::denorm_min());
  }
}

TEMPLATE_TEST_CASE("pack: multiply_add rounds once where the machine can, else twice; square_root is rounded right", "",
                   float, double) {
  using C = TestType;
  for (unsigned seed = 0; seed < 50; ++seed) {
    auto const v = random_values<C>(std::size_t(3 * width<C>), seed);
    Pack<C> const a = load(v.data()), b = load(v.data() + width<C>), c = load(v.data() + 2 * width<C>);
    Pack<C> const sum = multiply_add(a, b, c), root = square_root(a * a + broadcast(C(0.1)));
    Pack<C> const square = a * a + broadcast(C(0.1));
    for (int i = 0; i < width<C>; ++i) {
      INFO("seed " << seed << ", lane " << i);
#if defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
      CHECK(sum[i] == std::fma(a[i], b[i], c[i]));
#else
      CHECK(std::abs(sum[i] - std::fma(a[i], b[i], c[i])) <=
            std::numeric_limits<C>::epsilon() * (std::abs(a[i] * b[i]) + std::abs(sum[i])));
#endif
      C const scalar_root = std::sqrt(C(square[i]));
      CHECK(root[i] == scalar_root);
    }
  }
}

TEMPLATE_TEST_CASE("pack: shuffle takes lanes of both packs", "", float, double) {
  using C = TestType;
  Pack<C> const a = counting(C(0)), b = counting(C(100));
  Pack<C> const odd = shuffle<C>(a, b, OddLanes{});
  for (int i = 0; i < width<C>; ++i) {
    INFO("lane " << i);
    int const lane = 2 * i + 1;
    CHECK(odd[i] == (lane < width<C> ? a[lane] : b[lane - width<C>]));
  }
}

TEMPLATE_TEST_CASE("pack: all_lanes is true of a full mask and of no other", "", float, double) {
  using C = TestType;
  CHECK(all_lanes(Pack<C>{} == Pack<C>{}));
  CHECK_FALSE(all_lanes(Pack<C>{} != Pack<C>{}));
  for (int i = 0; i < width<C>; ++i) {
    Pack<C> one{};
    one[i] = 1;
    CHECK_FALSE(all_lanes(one == Pack<C>{}));
    CHECK_FALSE(all_lanes(one != Pack<C>{}));
    one[i] = std::numeric_limits<C>::quiet_NaN();
    CHECK_FALSE(all_lanes(one <= one));
  }
}

TEST_CASE("unrolled: counts up from 0, also with constants") {
  std::vector<int> seen, seen_constants;
  unrolled<5>([&](int i) { seen.push_back(i); });
  unrolled_constants<5>([&](auto i) {
    static_assert(decltype(i)::value >= 0);
    seen_constants.push_back(i);
  });
  CHECK(seen == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(seen_constants == seen);
  unrolled<0>([&](int) { seen.clear(); });
  unrolled_constants<0>([&](auto) { seen.clear(); });
  CHECK(seen.size() == 5);
}
