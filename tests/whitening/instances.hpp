// SPDX-License-Identifier: MIT
// tests/whitening/instances.hpp -- the whitening layers that tests use, compiled once: each takes some ten seconds.
#pragma once

#include <foldnorm/whitening/cholesky.hpp>
#include <foldnorm/whitening/iter_norm.hpp>
#include <foldnorm/whitening/pca.hpp>
#include <foldnorm/whitening/spectral_transformation.hpp>
#include <foldnorm/whitening/zca.hpp>

#include "eigen_instances.hpp"

namespace foldnorm {

#ifndef FOLDNORM_TEST_FILE_ALONE
extern template class Whitening<float, IterNormMethod>;
extern template class Whitening<double, IterNormMethod>;
extern template class Whitening<float, SpectralMethod<InverseSquareRoot>>;
extern template class Whitening<double, SpectralMethod<InverseSquareRoot>>;
extern template class Whitening<float, SpectralMethod<InversePower>>;
extern template class Whitening<double, SpectralMethod<InversePower>>;
extern template class Whitening<float, PcaMethod>;
extern template class Whitening<double, PcaMethod>;
extern template class Whitening<float, CholeskyMethod>;
extern template class Whitening<double, CholeskyMethod>;
#endif

inline constexpr IterNormEngine iter_norm_engines[] = {IterNormEngine::newton, IterNormEngine::coupled,
                                                       IterNormEngine::spectral};

}  // namespace foldnorm
