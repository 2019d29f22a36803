// SPDX-License-Identifier: MIT
// tests/layers/instances.hpp -- the layers, compiled once for all tests: their kernels take some twenty seconds.
#pragma once

#include <foldnorm/layers/sequential.hpp>

#include "laws/instances.hpp"

namespace foldnorm {

#ifndef FOLDNORM_TEST_FILE_ALONE
extern template class NormLayer<float, NormKind::layer_norm>;
extern template class NormLayer<float, NormKind::rms_norm>;
extern template class NormLayer<double, NormKind::layer_norm>;
extern template class NormLayer<double, NormKind::rms_norm>;
extern template class Sequential<float>;
extern template class Sequential<double>;
#endif

}  // namespace foldnorm
