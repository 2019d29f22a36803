// SPDX-License-Identifier: MIT
// foldnorm/layers/parallel_layer_norm.hpp -- ParallelLayerNorm(features, norm_size, options), PLN, and
// ParallelLayerScaling, PLS: normalization and activation at once. Ni et al., arXiv:2505.13142, section 2.
//
// As an activation they replace a ReLU (Linear, PLN, Linear), as normalization a LayerNorm, as both a whole [norm,
// ReLU] pair. In a channels-last image a pixel is a column (channels x (height * width * images)), so that groups are
// of channels. Groups of 8 features are a good start; groups of 2 with eps = 0 are steps, without a usable gradient:
// train with 3 or more.
#pragma once

#include <foldnorm/layers/norm_layer.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar>
using ParallelLayerNorm = NormLayer<Scalar, NormKind::layer_norm>;
template <real_scalar Scalar>
using ParallelLayerScaling = NormLayer<Scalar, NormKind::rms_norm>;

}  // namespace foldnorm::inline FOLDNORM_ABI
