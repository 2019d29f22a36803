// SPDX-License-Identifier: MIT
// tests/eigen_instances.hpp -- Eigen's eigenvalue solver, compiled once for all tests: each instance takes some ten
// seconds.
#pragma once

#include <Eigen/Eigenvalues>

#ifndef FOLDNORM_TEST_FILE_ALONE
namespace Eigen {
extern template SelfAdjointEigenSolver<MatrixXf>& SelfAdjointEigenSolver<MatrixXf>::compute(EigenBase<MatrixXf> const&,
                                                                                            int);
extern template SelfAdjointEigenSolver<MatrixXd>& SelfAdjointEigenSolver<MatrixXd>::compute(EigenBase<MatrixXd> const&,
                                                                                            int);
}  // namespace Eigen
#endif
