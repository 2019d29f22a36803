// SPDX-License-Identifier: MIT
#include "whitening/instances.hpp"

template Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>& Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>::compute(
    Eigen::EigenBase<Eigen::MatrixXd> const&, int);

namespace foldnorm {

template class Whitening<double, IterNormMethod>;
template class Whitening<double, SpectralMethod<InverseSquareRoot>>;
template class Whitening<double, SpectralMethod<InversePower>>;
template class Whitening<double, PcaMethod>;
template class Whitening<double, CholeskyMethod>;

}  // namespace foldnorm
