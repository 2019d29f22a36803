// SPDX-License-Identifier: MIT
// foldnorm/whitening/pca.hpp -- W = diag(l)^(-1/2) U^T: white, and rotated to the principal axes.
//
//   dU = dW^T diag(l^(-1/2)),  dl = -1/2 l^(-3/2) o diag(dW U),  F_ij = 1 / (l_j - l_i), 0 on the diagonal
//   dSigma = sym(U (F o (U^T dU) + diag(dl)) U^T)
//
// Eigenvalues ascend; the largest entry of each eigenvector is positive. Between batches axes swap and signs flip,
// which is why networks train with zca instead (Huang et al. 2018, arXiv:1804.08450). Where eigenvalues
// coincide the axes, and so the gradient, are not defined.
#pragma once

#include <foldnorm/kernels/spectral_function.hpp>
#include <foldnorm/whitening/whitening.hpp>

#include <cmath>
#include <limits>

namespace foldnorm::inline FOLDNORM_ABI {

struct PcaMethod {
  // F_ij = gap / (gap^2 + smallest_gap^2), in units of the trace: finite near equal eigenvalues, and wrong there.
  double smallest_gap = 0;

  template <real_scalar Scalar>
  struct State {
    SpectralDecomposition<Scalar> spectrum;
    Matrix<Scalar> u;
    Vector<Scalar> inverse_root;
    Matrix<Scalar> work[2];
  };

  void check() const { check_epsilon(smallest_gap, "PcaMethod: smallest_gap"); }

  template <real_scalar Scalar>
  WhiteningReport find_whitener(detail::NormalizedCovariance<Scalar>& covariance, State<Scalar>& state) const {
    if (!decompose(covariance.s, state.spectrum)) return {.status = WhiteningStatus::not_finite};
    Vector<double> const& l = state.spectrum.eigenvalues;
    Index const d = l.size();
    double const rounding =
        static_cast<double>(d) * static_cast<double>(std::numeric_limits<Scalar>::epsilon()) * l(d - 1);
    if (l(0) <= rounding) return {.status = WhiteningStatus::not_positive_definite};
    state.u = state.spectrum.vectors();
    bool coincide = false;
    for (Index j = 0; j < d; ++j) {
      Index largest;
      state.u.col(j).cwiseAbs().maxCoeff(&largest);
      if (state.u(largest, j) < 0) state.u.col(j) *= -1;
      coincide = coincide || (j > 0 && l(j) - l(j - 1) <= rounding);
    }
    state.inverse_root = l.cwiseSqrt().cwiseInverse().template cast<Scalar>();
    covariance.p.noalias() = state.inverse_root.asDiagonal() * state.u.transpose();
    return {.status = coincide ? WhiteningStatus::ambiguous : WhiteningStatus::ok};
  }

  template <real_scalar Scalar>
  void find_covariance_gradient(detail::NormalizedCovariance<Scalar>& covariance, State<Scalar>& state) const {
    Vector<double> const& l = state.spectrum.eigenvalues;
    auto& [by_u, inner] = state.work;
    inner.noalias() = covariance.dp * state.u;
    Vector<Scalar> const dl = Scalar(-.5) * state.inverse_root.array().cube() * inner.diagonal().array();
    by_u = inner.transpose() * state.inverse_root.asDiagonal();  // U^T dU
    for (Index j = 0; j < l.size(); ++j) {
      for (Index i = 0; i < l.size(); ++i) by_u(i, j) *= static_cast<Scalar>(inverse_gap(l(j) - l(i)));
    }
    by_u.diagonal() = dl;
    inner.noalias() = state.u * by_u;
    covariance.ds.noalias() = inner * state.u.transpose();
    detail::symmetrize(covariance.ds);
  }

 private:
  double inverse_gap(double gap) const { return gap == 0 ? 0 : gap / (gap * gap + smallest_gap * smallest_gap); }
};

// Needs a positive definite Sigma. Eigenvalues that coincide to rounding give status ambiguous: y is white all the
// same; dx is finite only with a smallest_gap.
template <real_scalar Scalar>
using Pca = Whitening<Scalar, PcaMethod>;

}  // namespace foldnorm::inline FOLDNORM_ABI
