// SPDX-License-Identifier: MIT
// foldnorm/kernels/spectral_function.hpp -- a scalar function of a symmetric matrix, by its spectrum; and its gradient.
//
//   A = U diag(l) U^T    g(A) = U diag(g(l)) U^T    dA = U (K o (U^T sym(dg) U)) U^T
//   K_ij = (g(l_i) - g(l_j)) / (l_i - l_j),  K_ii = g'(l_i)
//
// (Daleckii & Krein.) g(A) is smooth where eigenvalues coincide, although the eigenvectors are not: each function below
// brings its K in a form that does not divide by l_i - l_j (the caller's own where they are close).
//
// A function has values(l, g), divided_differences(l, K) for spectra of covariances (ascending, never negative), and
// says whether it needs_positive eigenvalues, and whether it is meant of_trace_one: g(A / t) / sqrt(t), t = tr(A), for
// g(A).
#pragma once

#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/detail/symmetric_product.hpp>

#include <Eigen/Eigenvalues>

#include <algorithm>
#include <cmath>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar>
struct SpectralDecomposition {
  Eigen::SelfAdjointEigenSolver<Matrix<Scalar>> solver;
  Vector<double> eigenvalues;  // ascending; those that rounding left below 0 are 0
  Matrix<Scalar> work[2];

  Matrix<Scalar> const& vectors() const { return solver.eigenvectors(); }
};

// False if the eigenvalues were not found (non-finite a). Reads the lower triangle of a.
template <real_scalar Scalar>
bool decompose(Matrix<Scalar> const& a, SpectralDecomposition<Scalar>& decomposition) {
  decomposition.solver.compute(a);
  if (decomposition.solver.info() != Eigen::Success) return false;
  decomposition.eigenvalues = decomposition.solver.eigenvalues().template cast<double>().cwiseMax(0.0);
  return true;
}

// result = U diag(values) U^T, symmetric, resized.
template <real_scalar Scalar>
void spectral_function(Vector<double> const& values, SpectralDecomposition<Scalar>& decomposition,
                       Matrix<Scalar>& result) {
  Matrix<Scalar> const& u = decomposition.vectors();
  Matrix<Scalar>& scaled = decomposition.work[0];
  scaled.noalias() = u * values.template cast<Scalar>().asDiagonal();
  detail::symmetric_product(scaled, u.transpose(), result);
}

// da (symmetric, resized) from K and the gradient by g(A), of which only the symmetric part counts.
template <real_scalar Scalar>
void spectral_function_backward(Matrix<double> const& divided_differences, Matrix<Scalar> const& dg,
                                SpectralDecomposition<Scalar>& decomposition, Matrix<Scalar>& da) {
  Matrix<Scalar> const& u = decomposition.vectors();
  auto& [product, inner] = decomposition.work;
  inner = dg;
  detail::symmetrize(inner);
  product.noalias() = inner * u;
  detail::symmetric_product(u.transpose(), product, inner);
  inner = inner.cwiseProduct(divided_differences.template cast<Scalar>());
  product.noalias() = u * inner;
  detail::symmetric_product(product, u.transpose(), da);
}

namespace detail {

// g(l) of each, resized. By hand, as what follows: what functions that are no templates say in Eigen's expressions is
// compiled in every file that includes them.
template <class Function>
void value_by_value(Vector<double> const& l, Vector<double>& values, Function const& g) {
  values.resize(l.size());
  for (Index i = 0; i < l.size(); ++i) values(i) = g(l(i));
}

}  // namespace detail

// l^(-1/2), whitening. K_ij = -1 / (sqrt(l_i) sqrt(l_j) (sqrt(l_i) + sqrt(l_j))).
struct InverseSquareRoot {
  static constexpr bool needs_positive = true;
  static constexpr bool of_trace_one = true;  // the same function either way; this one stays within range

  void values(Vector<double> const& l, Vector<double>& g) const {
    detail::value_by_value(l, g, [](double x) { return 1 / std::sqrt(x); });
  }
  void divided_differences(Vector<double> const& l, Matrix<double>& k) const {
    Index const d = l.size();
    k.resize(d, d);
    // The roots lie in the first column until it is written, last.
    for (Index i = 0; i < d; ++i) k(i, 0) = std::sqrt(l(i));
    for (Index j = d - 1; j >= 0; --j) {
      double const root = k(j, 0);
      for (Index i = 0; i < d; ++i) k(i, j) = divided_difference(k(i, 0), root);
    }
  }

 private:
  static double divided_difference(double root, double other) { return -1 / (root * other * (root + other)); }
};

// l^(-p). An eigenvalue spread kappa becomes kappa^|1-2p| in the output, its order inverted for p > 1/2.
struct InversePower {
  double p = .5;
  static constexpr bool needs_positive = true;
  static constexpr bool of_trace_one = false;

  void values(Vector<double> const& l, Vector<double>& g) const {
    detail::value_by_value(l, g, [&](double x) { return std::pow(x, -p); });
  }
  void divided_differences(Vector<double> const& l, Matrix<double>& k) const {
    k.resize(l.size(), l.size());
    for (Index j = 0; j < l.size(); ++j) k(j, j) = std::pow(l(j), -p - 1);
    for (Index j = 0; j < l.size(); ++j) {
      for (Index i = j + 1; i < l.size(); ++i) {
        auto const [smaller, larger] = l(i) < l(j) ? std::pair(i, j) : std::pair(j, i);
        k(i, j) = k(j, i) = k(smaller, smaller) * relative_difference(l(larger), l(smaller));
      }
    }
    for (Index j = 0; j < l.size(); ++j) k(j, j) *= -p;
  }

 private:
  // (r^(-p) - 1) / (r - 1) for r = a / b >= 1, by way of log r, which is exact for close a and b. (For small r, r - 1
  // would be rounded to -1.)
  double relative_difference(double a, double b) const {
    double const delta = std::log1p((a - b) / b);
    if (std::abs(delta) < 1e-9) return -p * (1 - .5 * (p + 1) * delta);  // the next term is below 1e-18
    return std::expm1(-p * delta) / std::expm1(delta);
  }
};

// What T steps of Newton's iteration make of an eigenvalue s in [0, 1]: f_0 = 1, f_{k+1} = 1.5 f_k - .5 f_k^3 s; 1.5^T
// at s = 0. K by the same recurrence in two points at once. With r = sqrt(s_low / s_high) <= 1 an error of K shrinks by
// (2 - r - r^2) / 2 per step at convergence; with the roles exchanged r >= 1, and it would grow as in Newton's
// matrices.
struct NewtonPolynomial {
  int steps = 5;
  static constexpr bool needs_positive = false;
  static constexpr bool of_trace_one = true;

  void values(Vector<double> const& s, Vector<double>& f) const {
    detail::value_by_value(s, f, [&](double x) {
      double value = 1;
      for (int taken = 0; taken < steps; ++taken) value = step(value, x);
      return value;
    });
  }
  void divided_differences(Vector<double> const& s, Matrix<double>& k) const {
    Index const d = s.size();
    k.setZero(d, d);
    for (Index j = 0; j < d; ++j) {
      for (Index begin = j; begin < d; begin += block) {
        Index const n = std::min(block, d - begin);
        difference_block(s(j), s.data() + begin, n, k.data() + begin + j * d);
      }
    }
    detail::mirror_lower<double>(k);
  }

 private:
  static constexpr Index block = 64;

  static double step(double f, double s) { return f * (1.5 - .5 * f * f * s); }
  void difference_block(double low, double const* high, Index n, double* difference) const {
    double f_low = 1;
    double f_high[block];
    std::fill(f_high, f_high + n, 1.0);
    for (int taken = 0; taken < steps; ++taken) {
      for (Index i = 0; i < n; ++i) {
        double const f = f_high[i];
        double const squares = f * f + f * f_low + f_low * f_low;
        difference[i] = 1.5 * difference[i] - .5 * (squares * difference[i] * low + f * f * f);
        f_high[i] = step(f, high[i]);
      }
      f_low = step(f_low, low);
    }
  }
};

// A function given by the caller with its derivative, both double -> double. Where two eigenvalues agree to a relative
// 1e-6 the mean of the derivatives stands for the quotient: an error of 1e-12 g''' l^2, instead of u / 1e-6 and more.
template <class Function, class Derivative>
struct ScalarFunction {
  Function g;
  Derivative derivative;
  static constexpr bool needs_positive = false;
  static constexpr bool of_trace_one = false;

  void values(Vector<double> const& l, Vector<double>& result) const { detail::value_by_value(l, result, g); }
  void divided_differences(Vector<double> const& l, Matrix<double>& k) const {
    k.resize(l.size(), l.size());
    for (Index j = 0; j < l.size(); ++j) {
      for (Index i = 0; i < l.size(); ++i) {
        double const gap = l(i) - l(j);
        k(i, j) = std::abs(gap) <= 1e-6 * std::max(l(i), l(j)) ? (derivative(l(i)) + derivative(l(j))) / 2
                                                               : (g(l(i)) - g(l(j))) / gap;
      }
    }
  }
};
template <class Function, class Derivative>
ScalarFunction(Function, Derivative) -> ScalarFunction<Function, Derivative>;

}  // namespace foldnorm::inline FOLDNORM_ABI
