// SPDX-License-Identifier: MIT
// foldnorm/whitening/zca.hpp -- W = Sigma^(-1/2): the whitening that stays closest to its input.
//
// Huang et al. 2018, arXiv:1804.08450 (Decorrelated Batch Normalization). The published backward divides by differences
// of eigenvalues; this one does not, and is exact where they coincide.
#pragma once

#include <foldnorm/whitening/spectral_transformation.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

// Needs a positive definite Sigma: more samples than features, or eps > 0.
template <real_scalar Scalar>
using Zca = SpectralTransformation<Scalar, InverseSquareRoot>;

}  // namespace foldnorm::inline FOLDNORM_ABI
