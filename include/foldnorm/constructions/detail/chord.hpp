// SPDX-License-Identifier: MIT
// foldnorm/constructions/detail/chord.hpp -- the readout: up to three runs on a half circle, cut by a chord.
//
//   one run      d
//   two runs     S - t C                        t between them in T = S / C
//   three runs   -(c2 - c1)(S - s1) + (s2 - s1)(C - c1),   (s_i, c_i) = (t_i, 1) / sqrt(1 + t_i^2)
//
// with the sign that makes runs of bit 1 positive. Derived for this library.
#pragma once

#include <foldnorm/constructions/detail/runs.hpp>
#include <foldnorm/constructions/detail/soft_fold.hpp>

#include <cmath>

namespace foldnorm::detail {

// Precondition: one to three runs, formed from T after the last norm. Positive on bit 1.
inline Readout chord(Runs const& runs, Bits const& bits) {
  double const sign = runs.bit_of(runs.size() - 1, bits) == 1 ? 1 : -1;
  auto const middle = [&](std::size_t gap) { return (runs[gap].high + runs[gap + 1].low) / 2; };
  if (runs.size() == 1) return readout(0, 0, sign);
  if (runs.size() == 2) return readout(sign, -sign * middle(0), 0);
  double const t1 = middle(0), t2 = middle(1);
  double const c1 = 1 / std::hypot(1, t1), c2 = 1 / std::hypot(1, t2), s1 = t1 * c1, s2 = t2 * c2;
  double const a = sign * (c2 - c1), b = -sign * (s2 - s1);  // the middle run lies above the chord
  return readout(a, b, -(a * s1 + b * c1));
}

}  // namespace foldnorm::detail
