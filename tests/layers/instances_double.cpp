// SPDX-License-Identifier: MIT
#include "layers/instances.hpp"

namespace foldnorm {

template class NormLayer<double, NormKind::layer_norm>;
template class NormLayer<double, NormKind::rms_norm>;
template class Sequential<double>;

}  // namespace foldnorm
