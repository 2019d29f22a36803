// SPDX-License-Identifier: MIT
#include "eigen_instances.hpp"

namespace Eigen {

template SelfAdjointEigenSolver<MatrixXf>& SelfAdjointEigenSolver<MatrixXf>::compute(EigenBase<MatrixXf> const&, int);
template SelfAdjointEigenSolver<MatrixXd>& SelfAdjointEigenSolver<MatrixXd>::compute(EigenBase<MatrixXd> const&, int);

}  // namespace Eigen
