// SPDX-License-Identifier: MIT
// foldnorm/kernels/inverse_square_root.hpp -- T steps of Newton's iteration towards S^(-1/2), and their gradients.
//
//   newton    P_0 = I,  P_{k+1} = (3 P_k - P_k^3 S) / 2                     Huang et al. 2019, arXiv:1904.03441
//   coupled   M_0 = S,  R_k = (3 I - M_k) / 2,  P_{k+1} = P_k R_k,  M_{k+1} = M_k R_k^2 = (9 M - 6 M^2 + M^3) / 4
//
// In exact arithmetic P_k is the same polynomial of S in both, and M_k = P_k^2 S. In rounding newton stops commuting
// with S and amplifies errors by about condition/2 per step once it has converged; coupled (the Newton-Schulz iteration
// with its two matrices Y = S P, Z = P replaced by M = Z Y and P) sees S only once and does not. All its matrices are
// symmetric, so half of each product is enough.
//
// A polynomial's derivative at a symmetric S is its own adjoint: the gradient by S is the derivative in the direction
// dP, and the backward of coupled is its own iteration, differentiated, forward.
//
// S: d x d, symmetric (coupled reads its lower triangle), spectrum in [0, 1] (trace 1 puts it there; Newton's scalar
// iteration converges on (0, 3)).
#pragma once

#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/detail/symmetric_product.hpp>

#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

struct IterationOutcome {
  int steps = 0;               // taken, of those asked for
  double residual = 0;         // ||I - P^2 S||_F / sqrt(d) of the result
  bool stopped_early = false;  // the residual grew: rounding had taken over, or S was not positive semidefinite
};

// What a forward keeps: P_0 .. P_steps, and in coupled M_0 .. M_{steps-1}; and memory to work in. Reused without
// allocation for the same shapes.
template <real_scalar Scalar>
struct NewtonIterates {
  int steps = 0;
  std::vector<Matrix<Scalar>> p, m;
  Matrix<Scalar> work[5];

  Matrix<Scalar> const& result() const { return p[static_cast<std::size_t>(steps)]; }
};

namespace detail {

// ||I - M||_F / sqrt(d).
template <real_scalar Scalar>
double distance_from_identity(Matrix<Scalar> const& m) {
  Index const d = m.rows();
  if (d == 0) return 0;
  double squares = 0;
  for (Index j = 0; j < d; ++j) {
    double const on_diagonal = 1 - static_cast<double>(m(j, j));
    squares += on_diagonal * on_diagonal + static_cast<double>(m.col(j).head(j).squaredNorm()) +
               static_cast<double>(m.col(j).tail(d - 1 - j).squaredNorm());
  }
  return std::sqrt(squares / static_cast<double>(d));
}

// In exact arithmetic residuals only fall. Rounding leaves them at some condition * u, which is sqrt(u) at a condition
// that the scalar can still tell from infinity; a NaN has grown, too.
template <real_scalar Scalar>
bool residual_grew(double before, double after) {
  static double const noise = std::sqrt(static_cast<double>(std::numeric_limits<Scalar>::epsilon()));
  return !(after <= 2 * before + noise);
}

template <real_scalar Scalar>
void start_iterates(Index d, int steps, NewtonIterates<Scalar>& iterates) {
  assert(steps >= 0);
  auto const size = static_cast<std::size_t>(steps) + 1;
  if (iterates.p.size() < size) iterates.p.resize(size);
  if (iterates.m.size() < size) iterates.m.resize(size);
  iterates.p[0].setIdentity(d, d);
  iterates.steps = 0;
}

}  // namespace detail

// The paper's iteration: P_0 .. P_T. Stops at the last iterate before the residual grew.
template <real_scalar Scalar>
IterationOutcome newton_inverse_square_root(Matrix<Scalar> const& s, int steps, NewtonIterates<Scalar>& iterates) {
  detail::start_iterates(s.rows(), steps, iterates);
  IterationOutcome outcome;
  Matrix<Scalar>& square = iterates.work[0];
  Matrix<Scalar>& m = iterates.work[1];
  for (int k = 0;; ++k) {
    Matrix<Scalar> const& p = iterates.p[static_cast<std::size_t>(k)];
    if (k == 0) {
      m = s;  // P_0 = I
    } else {
      square.noalias() = p * p;
      m.noalias() = square * s;
    }
    double const residual = detail::distance_from_identity(m);
    if (k > 0 && detail::residual_grew<Scalar>(outcome.residual, residual)) {
      outcome.stopped_early = true;
      break;
    }
    outcome = {.steps = k, .residual = residual};
    iterates.steps = k;
    if (k == steps) break;
    Matrix<Scalar>& next = iterates.p[static_cast<std::size_t>(k) + 1];
    if (k == 0) {
      next = m;
    } else {
      next.noalias() = p * m;
    }
    next = Scalar(1.5) * p - Scalar(.5) * next;
  }
  return outcome;
}

// ds (d x d, symmetric, resized): the gradient by S of a loss whose gradient by the result is dp, for the iterates of
// newton_inverse_square_root. Inherits its instability: meant for few steps.
template <real_scalar Scalar>
void newton_inverse_square_root_backward(Matrix<Scalar> const& s, Matrix<Scalar> const& dp,
                                         NewtonIterates<Scalar>& iterates, Matrix<Scalar>& ds) {
  auto& [a, square, cube, h, term] = iterates.work;
  a = dp;
  ds.setZero(s.rows(), s.cols());
  for (int k = iterates.steps; k > 1; --k) {
    Matrix<Scalar> const& q = iterates.p[static_cast<std::size_t>(k) - 1];
    square.noalias() = q * q;
    cube.noalias() = square * q;
    ds.noalias() -= Scalar(.5) * cube.transpose() * a;
    h.noalias() = a * s;
    a *= Scalar(1.5);
    a.noalias() -= Scalar(.5) * h * square;
    a.noalias() -= Scalar(.5) * square * h;
    term.noalias() = h * q;
    a.noalias() -= Scalar(.5) * q * term;
  }
  if (iterates.steps > 0) ds -= Scalar(.5) * a;  // P_0 = I
  detail::symmetrize(ds);
}

namespace detail {

// M_{k+1} from M_k: the eigenvalues m of both become m (3 - m)^2 / 4, which is nearer to 1.
template <real_scalar Scalar>
void next_coupled(Matrix<Scalar> const& m, Matrix<Scalar>& square, Matrix<Scalar>& next) {
  symmetric_product(m, m, square);
  symmetric_product(m, square, next);
  next = Scalar(2.25) * m - Scalar(1.5) * square + Scalar(.25) * next;
}

// ||I - P S P||_F / sqrt(d), for a P that commutes with S. M says what it would be without rounding.
template <real_scalar Scalar>
double residual_of(Matrix<Scalar> const& p, Matrix<Scalar> const& s, NewtonIterates<Scalar>& iterates) {
  symmetric_product(p, s, iterates.work[0]);
  symmetric_product(iterates.work[0], p, iterates.work[1]);
  return distance_from_identity(iterates.work[1]);
}

}  // namespace detail

// The coupled iteration: P_0 .. P_T and M_0 .. M_{T-1}, all symmetric. Stops at the last iterate before the residual
// grew.
template <real_scalar Scalar>
IterationOutcome coupled_inverse_square_root(Matrix<Scalar> const& s, int steps, NewtonIterates<Scalar>& iterates) {
  detail::start_iterates(s.rows(), steps, iterates);
  iterates.m[0] = s;
  detail::mirror_lower<Scalar>(iterates.m[0]);  // what is not symmetric to the last bit would grow by 2.25 per step
  IterationOutcome outcome{.residual = detail::distance_from_identity(s)};
  for (int k = 0; k < steps; ++k) {
    auto const at = static_cast<std::size_t>(k);
    Matrix<Scalar> const& m = iterates.m[at];
    Matrix<Scalar> const& p = iterates.p[at];
    Matrix<Scalar>& next_p = iterates.p[at + 1];
    if (k == 0) {
      next_p = m;  // times P_0 = I
    } else {
      detail::symmetric_product(p, m, next_p);
    }
    next_p = Scalar(1.5) * p - Scalar(.5) * next_p;
    double residual;
    if (k + 1 < steps) {
      detail::next_coupled(m, iterates.work[0], iterates.m[at + 1]);
      residual = detail::distance_from_identity(iterates.m[at + 1]);
    } else {
      residual = detail::residual_of(next_p, s, iterates);
    }
    if (detail::residual_grew<Scalar>(outcome.residual, residual)) {
      outcome.stopped_early = true;
      outcome.residual = detail::residual_of(p, s, iterates);
      break;
    }
    outcome = {.steps = k + 1, .residual = residual};
    iterates.steps = k + 1;
  }
  return outcome;
}

// ds (d x d, symmetric, resized): the gradient by S of a loss whose gradient by the result is dp; only the symmetric
// part of dp counts. Works in place: dp is overwritten.
template <real_scalar Scalar>
void coupled_inverse_square_root_backward(Matrix<Scalar>& dp, NewtonIterates<Scalar>& iterates, Matrix<Scalar>& ds) {
  Matrix<Scalar>& product = iterates.work[0];
  Matrix<Scalar>& twisted = iterates.work[1];
  Matrix<Scalar>& cubic = iterates.work[2];
  Matrix<Scalar>& next = iterates.work[3];
  Matrix<Scalar>& dm = dp;  // the derivative of M_k, and in ds that of P_k
  detail::symmetrize(dm);
  ds.setZero(dm.rows(), dm.cols());
  for (int k = 0; k < iterates.steps; ++k) {
    Matrix<Scalar> const& p = iterates.p[static_cast<std::size_t>(k)];
    Matrix<Scalar> const& m = iterates.m[static_cast<std::size_t>(k)];
    if (k == 0) {
      ds = Scalar(-.5) * dm;  // P_0 = I
    } else {                  // dP R + P dR; sums before factors, which would have Eigen compute whole products first
      next.resize(dm.rows(), dm.cols());
      next.template triangularView<Eigen::Lower>() = ds * m;
      next.template triangularView<Eigen::Lower>() += p * dm;
      detail::mirror_lower<Scalar>(next);
      ds = Scalar(1.5) * ds - Scalar(.5) * next;
    }
    if (k + 1 == iterates.steps) break;
    // d(M^2) = N + N^T with N = M dM, and d(M^3) = M V + (M V)^T with V = N + N^T / 2.
    product.noalias() = m * dm;
    twisted = product + Scalar(.5) * product.transpose();
    cubic.noalias() = m * twisted;
    dm = Scalar(2.25) * dm - Scalar(1.5) * (product + product.transpose()) + Scalar(.25) * (cubic + cubic.transpose());
  }
}

}  // namespace foldnorm::inline FOLDNORM_ABI
