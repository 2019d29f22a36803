// SPDX-License-Identifier: MIT
// foldnorm/whitening/cholesky.hpp -- W = L^(-1), Sigma = L L^T: the cheapest whitening, feature by feature.
//
//   dSigma = -sym(W^T Phi(dW W^T) W),   Phi: the lower triangle with half its diagonal
//
// W is formed, by a triangular solve of I: the layer applies, averages and folds a matrix, whatever the method.
//
// Smooth where eigenvalues coincide; depends on the order of the features. Ermolov et al. 2021, arXiv:2007.06346
// (W-MSE) whiten so.
#pragma once

#include <foldnorm/whitening/whitening.hpp>

#include <Eigen/Cholesky>

#include <limits>

namespace foldnorm::inline FOLDNORM_ABI {

struct CholeskyMethod {
  template <real_scalar Scalar>
  struct State {
    Eigen::LLT<Matrix<Scalar>> factor;
    Matrix<Scalar> work[2];
  };

  void check() const {}

  template <real_scalar Scalar>
  WhiteningReport find_whitener(detail::NormalizedCovariance<Scalar>& covariance, State<Scalar>& state) const {
    Index const d = covariance.s.rows();
    state.factor.compute(covariance.s);
    Scalar const rounding = static_cast<Scalar>(d) * std::numeric_limits<Scalar>::epsilon();
    bool const positive =
        state.factor.info() == Eigen::Success &&
        state.factor.matrixLLT().diagonal().array().square().minCoeff() > rounding * covariance.s.diagonal().maxCoeff();
    if (!positive) return {.status = WhiteningStatus::not_positive_definite};
    covariance.p.setIdentity(d, d);
    state.factor.matrixL().solveInPlace(covariance.p);
    return {};
  }

  template <real_scalar Scalar>
  void find_covariance_gradient(detail::NormalizedCovariance<Scalar>& covariance, State<Scalar>& state) const {
    Matrix<Scalar> const& w = covariance.p;
    auto& [phi, product] = state.work;
    product.noalias() = covariance.dp * w.transpose();
    phi.setZero(w.rows(), w.cols());
    phi.template triangularView<Eigen::StrictlyLower>() = product;
    phi.diagonal() = Scalar(.5) * product.diagonal();
    product.noalias() = phi * w;
    covariance.ds.noalias() = Scalar(-1) * w.transpose() * product;
    detail::symmetrize(covariance.ds);
  }
};

// Needs a positive definite Sigma: more samples than features, or eps > 0.
template <real_scalar Scalar>
using CholeskyWhitening = Whitening<Scalar, CholeskyMethod>;

}  // namespace foldnorm::inline FOLDNORM_ABI
