// SPDX-License-Identifier: MIT
// foldnorm/layers/rms_norm.hpp -- RMSNorm(features, options) with its gamma and beta: LayerNorm without centering.
// Zhang & Sennrich 2019, arXiv:1910.07467.
#pragma once

#include <foldnorm/layers/norm_layer.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar>
using RMSNorm = NormLayer<Scalar, NormKind::rms_norm>;

}  // namespace foldnorm::inline FOLDNORM_ABI
