// SPDX-License-Identifier: MIT
// foldnorm/core/accuracy.hpp -- the accuracy a caller can name.
//
// Bounds for float storage and finite input, in the measures of docs/numerics.md (E_y: error in units of the terms that
// are added; nrm: error relative to the largest exact output of the sample):
//   fast      E_y <= 64 and nrm <= 1e-6, whatever the sample's mean: the default
//   accurate  E_y, E_dx, E_dgamma, E_dbeta <= 8: all arithmetic in double, rounded once
// double storage takes compensated statistics in both modes.
#pragma once

namespace foldnorm {

enum class Accuracy { fast, accurate };

}  // namespace foldnorm
