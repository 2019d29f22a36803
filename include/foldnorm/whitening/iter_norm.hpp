// SPDX-License-Identifier: MIT
// foldnorm/whitening/iter_norm.hpp -- whitening by T steps of Newton's iteration: partial, and smooth everywhere.
//
//   W = P_T(Sigma / t) / sqrt(t),  t = tr(Sigma)      an eigenvalue s = l / t comes out as phi_T(s) = s f_T(s)^2
//
// Division by the trace puts the spectrum into [0, 1], where the iteration converges; T = 5 is far from done for small
// s by design (gain 1.5^T / sqrt(t) at most). Huang et al. 2019, arXiv:1904.03441. docs/whitening.md says how its three
// engines compare: the same function, to the accuracy of each.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/kernels/inverse_square_root.hpp>
#include <foldnorm/kernels/spectral_function.hpp>
#include <foldnorm/whitening/spectral_transformation.hpp>
#include <foldnorm/whitening/whitening.hpp>

#include <stdexcept>
#include <string>

namespace foldnorm::inline FOLDNORM_ABI {

enum class IterNormEngine {
  automatic,  // coupled or spectral, whichever is faster
  newton,     // the iteration as published; its rounding errors grow by condition/2 per step: T <= 7, in float <= 5
  coupled,    // the same iterates, stable for every T
  spectral,   // the same polynomial of the eigenvalues
};

struct IterNormMethod {
  int iterations = 5;
  IterNormEngine engine = IterNormEngine::automatic;

  bool operator==(IterNormMethod const&) const = default;

  template <real_scalar Scalar>
  struct State {
    NewtonIterates<Scalar> iterates;
    typename SpectralMethod<NewtonPolynomial>::template State<Scalar> spectral;
    IterNormEngine engine = IterNormEngine::automatic;  // that filled it
    int iterations = 0;
  };

  void check() const {
    if (iterations < 0) {
      detail::raise<std::invalid_argument>("IterNorm: iterations is " + std::to_string(iterations) + ", expected >= 0");
    }
  }

  // Measured on forward and backward together (docs/whitening.md): an eigendecomposition costs about as much as three
  // steps of the iteration, a little more for small matrices.
  IterNormEngine engine_used(Index features) const {
    if (engine != IterNormEngine::automatic) return engine;
    int const steps_worth_decomposing = features <= 64 ? 4 : 3;
    return iterations < steps_worth_decomposing ? IterNormEngine::coupled : IterNormEngine::spectral;
  }

  template <real_scalar Scalar>
  WhiteningReport find_whitener(detail::NormalizedCovariance<Scalar>& covariance, State<Scalar>& state) const {
    IterationOutcome outcome;
    state.engine = engine_used(covariance.s.rows());
    state.iterations = iterations;
    switch (state.engine) {
      case IterNormEngine::newton:
        outcome = newton_inverse_square_root(covariance.s, iterations, state.iterates);
        break;
      case IterNormEngine::coupled:
        outcome = coupled_inverse_square_root(covariance.s, iterations, state.iterates);
        break;
      default:
        return spectral(iterations).find_whitener(covariance, state.spectral);
    }
    covariance.p = state.iterates.result();
    return {.status = outcome.stopped_early ? WhiteningStatus::stopped_early : WhiteningStatus::ok,
            .residual = outcome.residual};
  }

  // Of the forward that filled the state, whichever layer's it was.
  template <real_scalar Scalar>
  void find_covariance_gradient(detail::NormalizedCovariance<Scalar>& covariance, State<Scalar>& state) const {
    double const dp_dot_p = static_cast<double>(covariance.dp.cwiseProduct(covariance.p).sum());
    switch (state.engine) {
      case IterNormEngine::newton:
        newton_inverse_square_root_backward(covariance.s, covariance.dp, state.iterates, covariance.ds);
        break;
      case IterNormEngine::coupled:
        coupled_inverse_square_root_backward(covariance.dp, state.iterates, covariance.ds);
        break;
      default:
        spectral(state.iterations).find_covariance_gradient(covariance, state.spectral);
        return;
    }
    detail::add_trace_gradient(dp_dot_p, covariance);
  }

 private:
  static SpectralMethod<NewtonPolynomial> spectral(int steps) { return {.function = {.steps = steps}}; }
};

// For eps > 0 or eps = 0, any number of samples. Directions without variance stay without.
template <real_scalar Scalar>
using IterNorm = Whitening<Scalar, IterNormMethod>;

}  // namespace foldnorm::inline FOLDNORM_ABI
