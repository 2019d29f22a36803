// SPDX-License-Identifier: MIT
#include "whitening/instances.hpp"

namespace foldnorm {

template class Whitening<float, IterNormMethod>;
template class Whitening<float, SpectralMethod<InverseSquareRoot>>;
template class Whitening<float, SpectralMethod<InversePower>>;
template class Whitening<float, PcaMethod>;
template class Whitening<float, CholeskyMethod>;

}  // namespace foldnorm
