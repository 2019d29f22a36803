// SPDX-License-Identifier: MIT
// tests/laws/tiers.hpp -- how many unit roundoffs the kernels may lose: docs/numerics.md.
#pragma once

#include <foldnorm/core/accuracy.hpp>

#include <utility>

namespace laws {

// As the specification promises them; no figure here is fitted to what the library reaches.
inline constexpr double tier_1 = 8;   // every measure, accurate mode
inline constexpr double tier_2 = 64;  // every measure, fast mode; E_y where |beta| is not tiny
// E_nrm, fast mode: 1e-6 in float. It judges where beta is 0 and an element sits on the mean.
inline constexpr double tier_2_nrm = 1e-6 * 0x1p24;

using foldnorm::Accuracy;

inline constexpr Accuracy both_modes[] = {Accuracy::fast, Accuracy::accurate};
inline constexpr std::pair<Accuracy, double> tiers[] = {{Accuracy::fast, tier_2}, {Accuracy::accurate, tier_1}};

}  // namespace laws
