// SPDX-License-Identifier: MIT
// Every value of half and bfloat16, and roundings, against Eigen's own scalar conversions.
#include <foldnorm/core/pack_half.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <type_traits>
#include <vector>

#include "catch.hpp"

namespace {

using namespace foldnorm::detail;
using Eigen::bfloat16;
using Eigen::half;

constexpr int lanes_of_float = width<float>;
template <class Scalar>
constexpr int explicit_bits = std::is_same_v<Scalar, half> ? 10 : 7;

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }
template <class T>
std::uint16_t bits(T value) {
  return std::bit_cast<std::uint16_t>(value);
}

struct OnePack {
  static constexpr int packs = 1;
  template <class T>
  static void store_values(float const* values, T* to) {
    store(to, load(values));
  }
};
// Both in the order that T gives two packs.
struct TwoPacks {
  static constexpr int packs = 2;
  template <class T>
  static void store_values(float const* values, T* to) {
    store_two<T>(to, load(values, OfTwo<T, 0>{}), load(values, OfTwo<T, 1>{}));
  }
};

// Stores `values`, filled up with the last one, through packs; CHECKs once for all, for speed.
template <class T, class Packs>
void check_stores_by(std::vector<float> values) {
  constexpr std::size_t count = std::size_t(Packs::packs * lanes_of_float);
  while (values.size() % count != 0) values.push_back(values.back());
  std::size_t wrong = 0;
  float first_wrong = 0;
  for (std::size_t i = 0; i < values.size(); i += count) {
    std::array<T, count> stored;
    Packs::store_values(values.data() + i, stored.data());
    for (std::size_t lane = 0; lane < stored.size(); ++lane) {
      float const value = values[i + lane];
      bool const right = std::isnan(value) ? std::isnan(static_cast<float>(stored[lane]))
                                           : bits(stored[lane]) == bits(static_cast<T>(value));
      if (!right && wrong++ == 0) first_wrong = value;
    }
  }
  INFO(Packs::packs << " packs: first wrong " << first_wrong << ", bits " << bits(first_wrong));
  CHECK(wrong == 0);
}
template <class T>
void check_stores(std::vector<float> values) {
  check_stores_by<T, OnePack>(values);
  std::erase_if(values, [](float value) { return std::isnan(value) && !(bits(value) & 0x400000); });  // not quiet
  check_stores_by<T, TwoPacks>(values);
}

}  // namespace

TEMPLATE_TEST_CASE("half packs: each of the 65536 values loads as the float it stands for", "", half, bfloat16) {
  using T = TestType;
  std::size_t wrong = 0;
  for (std::uint32_t first = 0; first < 0x10000; first += std::uint32_t(lanes_of_float)) {
    std::array<T, std::size_t(lanes_of_float)> from;
    for (std::uint32_t i = 0; i < from.size(); ++i) from[i] = std::bit_cast<T>(std::uint16_t(first + i));
    FloatPack const pack = load(from.data());
    for (std::uint32_t i = 0; i < from.size(); ++i) {
      auto const expected = static_cast<float>(from[i]);
      bool const same = std::isnan(expected) ? std::isnan(pack[i]) : bits(pack[i]) == bits(expected);
      wrong += same ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("half packs: two packs hold what two loads hold, parameters in float in the same order", "", half,
                   bfloat16, float, double) {
  using T = TestType;
  constexpr int lanes = width<foldnorm::Compute<T>>;
  std::array<T, std::size_t(2 * lanes)> from, back;
  std::array<foldnorm::Compute<T>, std::size_t(2 * lanes)> parameters;
  for (int i = 0; i < 2 * lanes; ++i) {
    from[std::size_t(i)] = static_cast<T>(static_cast<float>(i));
    parameters[std::size_t(i)] = static_cast<foldnorm::Compute<T>>(i);
  }
  auto const first = load(from.data(), OfTwo<T, 0>{}), second = load(from.data(), OfTwo<T, 1>{});
  std::vector<int> seen;
  for (auto pack : {first, second})
    for (int lane = 0; lane < lanes; ++lane) seen.push_back(static_cast<int>(pack[lane]));
  auto const gamma = load(parameters.data(), OfTwo<T, 0>{}), more_gamma = load(parameters.data(), OfTwo<T, 1>{});
  for (int lane = 0; lane < lanes; ++lane) {
    CHECK(gamma[lane] == first[lane]);
    CHECK(more_gamma[lane] == second[lane]);
  }
  std::sort(seen.begin(), seen.end());
  for (int i = 0; i < 2 * lanes; ++i) CHECK(seen[std::size_t(i)] == i);
  store_two<T>(back.data(), first, second);
  for (int i = 0; i < 2 * lanes; ++i) CHECK(back[std::size_t(i)] == from[std::size_t(i)]);
}

TEMPLATE_TEST_CASE("half packs: each of the 65536 values is stored back as it was, but for the payload of NaN", "",
                   half, bfloat16) {
  std::vector<float> values;
  for (std::uint32_t i = 0; i < 0x10000; ++i)
    values.push_back(static_cast<float>(std::bit_cast<TestType>(std::uint16_t(i))));
  check_stores<TestType>(values);
}

TEMPLATE_TEST_CASE("half packs: stores round to nearest, ties to even, and overflow to infinity", "", half, bfloat16) {
  using T = TestType;
  int const dropped = 23 - explicit_bits<T>;
  std::vector<float> values;
  // Around each value and each middle between two, normal or subnormal: one float below, at, and above.
  for (std::uint32_t i = 0; i < 0x7fff; ++i) {
    float const low = static_cast<float>(std::bit_cast<T>(std::uint16_t(i)));
    float const high = static_cast<float>(std::bit_cast<T>(std::uint16_t(i + 1)));
    if (!std::isfinite(high)) break;
    float const middle = low + (high - low) / 2;
    for (float at : {low, middle}) {
      for (float value : {std::nextafter(at, 0.0f), at, std::nextafter(at, high)}) {
        values.push_back(value);
        values.push_back(-value);
      }
    }
  }
  // The same by the bits that are dropped, up to the end of float's range.
  for (std::uint32_t upper = 0; upper < (1u << (31 - dropped)); ++upper) {
    for (std::uint32_t lower :
         {0u, 1u, (1u << (dropped - 1)) - 1, 1u << (dropped - 1), (1u << (dropped - 1)) + 1, (1u << dropped) - 1}) {
      values.push_back(std::bit_cast<float>(upper << dropped | lower));
    }
  }
  check_stores<T>(values);
}

TEMPLATE_TEST_CASE("half packs: random floats of every magnitude are stored as Eigen rounds them", "", half, bfloat16) {
  constexpr unsigned seed = 7;
  INFO("seed " << seed);
  std::mt19937 engine(seed);
  std::vector<float> values;
  for (int i = 0; i < 400'000; ++i) values.push_back(std::bit_cast<float>(std::uint32_t(engine())));  // NaN and inf too
  std::normal_distribution<float> draw(0, 1);
  for (int i = 0; i < 100'000; ++i) values.push_back(draw(engine));
  check_stores<TestType>(values);
}

TEMPLATE_TEST_CASE("half packs: rounded_to gives what a store and a load give; float and double are as they were", "",
                   half, bfloat16) {
  std::mt19937 engine(9);
  std::normal_distribution<float> draw(0, 1000);
  FloatPack pack{};
  for (int i = 0; i < lanes_of_float; ++i) pack[i] = draw(engine);
  FloatPack const rounded = rounded_to<TestType>(pack), same = rounded_to<float>(pack);
  for (int i = 0; i < lanes_of_float; ++i) {
    CHECK(rounded[i] == static_cast<float>(static_cast<TestType>(pack[i])));
    CHECK(same[i] == pack[i]);
  }
}
