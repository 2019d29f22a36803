// SPDX-License-Identifier: MIT
// foldnorm/whitening/spectral_transformation.hpp -- W = g(Sigma) for a scalar function g of the eigenvalues.
//
//   Sigma = U diag(l) U^T    W = U diag(g(l)) U^T    output covariance (eps = 0): U diag(l g(l)^2) U^T
//
// g = 1 leaves the spectrum, l^(-1/2) whitens, l^(-p) lies between and beyond; IterNorm's g is a polynomial of l / t.
// Weng et al. 2024, arXiv:2305.16789 (the family); the backward is kernels/spectral_function.hpp's.
#pragma once

#include <foldnorm/kernels/spectral_function.hpp>
#include <foldnorm/whitening/whitening.hpp>

#include <cmath>
#include <limits>

namespace foldnorm::inline FOLDNORM_ABI {

template <class Function>
struct SpectralMethod {
  Function function = {};

  template <real_scalar Scalar>
  struct State {
    SpectralDecomposition<Scalar> spectrum;  // of S
    Vector<double> eigenvalues;              // that the function is applied to: of Sigma or, of_trace_one, of S
    Vector<double> values;
    Matrix<double> differences;
  };

  void check() const {}

  template <real_scalar Scalar>
  WhiteningReport find_whitener(detail::NormalizedCovariance<Scalar>& covariance, State<Scalar>& state) const {
    if (!decompose(covariance.s, state.spectrum)) return {.status = WhiteningStatus::not_finite};
    double const t = function.of_trace_one ? 1 : covariance.trace;
    state.eigenvalues = t * state.spectrum.eigenvalues;
    if (function.needs_positive && !is_positive_definite(state.spectrum)) {
      return {.status = WhiteningStatus::not_positive_definite};
    }
    function.values(state.eigenvalues, state.values);
    if (!state.values.allFinite()) return {.status = WhiteningStatus::not_finite};
    state.values *= std::sqrt(t);
    spectral_function(state.values, state.spectrum, covariance.p);
    double squares = 0;
    for (Index i = 0; i < state.values.size(); ++i) {
      double const off = 1 - state.spectrum.eigenvalues(i) * state.values(i) * state.values(i);
      squares += off * off;
    }
    return {.residual = std::sqrt(squares / static_cast<double>(state.values.size()))};
  }

  template <real_scalar Scalar>
  void find_covariance_gradient(detail::NormalizedCovariance<Scalar>& covariance, State<Scalar>& state) const {
    function.divided_differences(state.eigenvalues, state.differences);
    double const t = function.of_trace_one ? 1 : covariance.trace;
    state.differences *= t * std::sqrt(t);
    spectral_function_backward(state.differences, covariance.dp, state.spectrum, covariance.ds);
    if constexpr (Function::of_trace_one) {
      detail::add_trace_gradient(static_cast<double>(covariance.dp.cwiseProduct(covariance.p).sum()), covariance);
    }
  }

 private:
  // Rounding leaves eigenvalues within d u of the largest one where they are.
  template <real_scalar Scalar>
  static bool is_positive_definite(SpectralDecomposition<Scalar> const& spectrum) {
    Index const d = spectrum.eigenvalues.size();
    double const rounding = static_cast<double>(d) * static_cast<double>(std::numeric_limits<Scalar>::epsilon());
    return spectrum.eigenvalues(0) > rounding * spectrum.eigenvalues(d - 1);
  }
};

// Function: InversePower, InverseSquareRoot, or a ScalarFunction of the caller's g and g' (finite at the eigenvalues of
// the data, else the status is not_finite and nothing is written; there is nothing to differentiate at the points where
// g is not smooth).
template <real_scalar Scalar, class Function>
using SpectralTransformation = Whitening<Scalar, SpectralMethod<Function>>;

}  // namespace foldnorm::inline FOLDNORM_ABI
