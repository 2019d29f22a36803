// SPDX-License-Identifier: MIT
// foldnorm/kernels/affine_map.hpp -- y = A x + b: what a whitening layer is at inference, and what `fold` composes.
#pragma once

#include <foldnorm/core/types.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar>
struct AffineMap {
  Matrix<Scalar> matrix;  // out x in
  Vector<Scalar> bias;    // out
};

}  // namespace foldnorm::inline FOLDNORM_ABI
