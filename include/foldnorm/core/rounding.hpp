// SPDX-License-Identifier: MIT
// foldnorm/core/rounding.hpp -- a double as the nearest value of a storage type, rounded once.
#pragma once

#include <foldnorm/core/types.hpp>

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>

namespace foldnorm::inline FOLDNORM_ABI {

// To nearest, ties to even; overflow is infinity, NaN stays NaN. Eigen's own conversion to half and bfloat16 goes by
// way of float and rounds twice: 1 + 2^-11 + 2^-30 becomes 1 as a half, whose neighbour 1 + 2^-10 is nearer.
template <storage_scalar Scalar>
Scalar round_once(double value) {
  if constexpr (real_scalar<Scalar>) {
    return static_cast<Scalar>(value);
  } else {
    // A float rounded to odd: of its two neighbours an inexact value takes the one whose last bit is set, so that it
    // lies neither on nor beyond a midpoint of the narrower type (Boldo and Melquiond, 2008).
    auto narrow = static_cast<float>(value);
    auto bits = std::bit_cast<std::uint32_t>(narrow);
    bool const is_exact = static_cast<double>(narrow) == value || std::isnan(value);
    if (!is_exact && bits % 2 == 0) {
      bits += std::abs(static_cast<double>(narrow)) < std::abs(value) ? 1U : ~0U;
      narrow = std::bit_cast<float>(bits);
    }
    return static_cast<Scalar>(narrow);
  }
}

}  // namespace foldnorm::inline FOLDNORM_ABI
