// SPDX-License-Identifier: MIT
#include "whitening/instances.hpp"

namespace foldnorm {

template class Whitening<double, IterNormMethod>;
template class Whitening<double, SpectralMethod<InverseSquareRoot>>;
template class Whitening<double, SpectralMethod<InversePower>>;
template class Whitening<double, PcaMethod>;
template class Whitening<double, CholeskyMethod>;

}  // namespace foldnorm
