// SPDX-License-Identifier: MIT
// foldnorm/core/accuracy.hpp -- the accuracy a caller can name.
//
// Bounds for finite input, in the measures of docs/numerics.md (E_y, E_dx, ...: errors in units of u times the terms
// that are added; nrm: error relative to the largest exact output of the sample), u the unit roundoff of float or
// double:
//   fast      E_y <= 64 where |beta| is not tiny, nrm <= 17 u (1e-6 in float), whatever the sample's mean;
//             E_dx, E_dgamma, E_dbeta <= 64: arithmetic in float (double storage: in double); the default
//   accurate  E_y, E_dx, E_dgamma, E_dbeta <= 8: all arithmetic in double (double storage: compensated), rounded once
// half and bfloat16 are rounded once more, to half a step of theirs.
#pragma once

#include <foldnorm/core/config.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

enum class Accuracy { fast, accurate };

}  // namespace foldnorm::inline FOLDNORM_ABI
