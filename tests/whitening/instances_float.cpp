// SPDX-License-Identifier: MIT
#include "whitening/instances.hpp"

template Eigen::SelfAdjointEigenSolver<Eigen::MatrixXf>& Eigen::SelfAdjointEigenSolver<Eigen::MatrixXf>::compute(
    Eigen::EigenBase<Eigen::MatrixXf> const&, int);

namespace foldnorm {

template class Whitening<float, IterNormMethod>;
template class Whitening<float, SpectralMethod<InverseSquareRoot>>;
template class Whitening<float, SpectralMethod<InversePower>>;
template class Whitening<float, PcaMethod>;
template class Whitening<float, CholeskyMethod>;

}  // namespace foldnorm
