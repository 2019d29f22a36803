// SPDX-License-Identifier: MIT
#include "layers/instances.hpp"

namespace foldnorm {

template class NormLayer<float, NormKind::layer_norm>;
template class NormLayer<float, NormKind::rms_norm>;
template class Sequential<float>;

}  // namespace foldnorm
