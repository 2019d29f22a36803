// SPDX-License-Identifier: MIT
// foldnorm/layers/layer_norm.hpp -- LayerNorm(features, options) with its gamma and beta. Ba, Kiros & Hinton 2016,
// arXiv:1607.06450.
#pragma once

#include <foldnorm/layers/norm_layer.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar>
using LayerNorm = NormLayer<Scalar, NormKind::layer_norm>;

}  // namespace foldnorm::inline FOLDNORM_ABI
