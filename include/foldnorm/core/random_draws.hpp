// SPDX-License-Identifier: MIT
// foldnorm/core/random_draws.hpp -- random numbers that are the same on every platform: the standard fixes the bits of
// std::mt19937_64, but not what its distributions make of them.
#pragma once

#include <foldnorm/core/config.hpp>

#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>

namespace foldnorm::detail {

// Uniform in [0, 1), all 53 bits.
inline double unit_draw(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

// Uniform in 0 .. count - 1, up to count / 2^64. Precondition: count > 0.
inline std::uint64_t index_draw(std::mt19937_64& random, std::uint64_t count) { return random() % count; }

// Standard normal (up to the platform's log and cos): Box and Muller.
inline double normal_draw(std::mt19937_64& random) {
  double const radius = std::sqrt(-2 * std::log(unit_draw(random) + 0x1p-54));  // not log(0)
  return radius * std::cos(2 * std::numbers::pi * (unit_draw(random) + 0x1p-54));
}

}  // namespace foldnorm::detail
