// SPDX-License-Identifier: MIT
// tests/kernels/spectra.hpp -- symmetric matrices with a chosen spectrum, and what Newton's iteration makes of them by
// its scalar recurrence, in extended precision.
#pragma once

#include <foldnorm/core/types.hpp>

#include <cmath>
#include <random>
#include <utility>

namespace spectra {

using foldnorm::Index;
using Wide = long double;
using WideMatrix = Eigen::Matrix<Wide, Eigen::Dynamic, Eigen::Dynamic>;
using WideVector = Eigen::Matrix<Wide, Eigen::Dynamic, 1>;

inline WideMatrix random_matrix(Index rows, Index columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  WideMatrix a(rows, columns);
  for (Index i = 0; i < a.size(); ++i) a.data()[i] = normal(random);
  return a;
}
// By dot products: Eigen's blocked ones take seconds to compile for one more scalar.
inline WideMatrix product(WideMatrix const& a, WideMatrix const& b) { return a.lazyProduct(b); }

// By Gram and Schmidt, twice, which is enough. Not by Eigen's QR: that is ten seconds of compilation.
inline WideMatrix random_rotation(Index d, unsigned seed) {
  WideMatrix u = random_matrix(d, d, seed);
  for (Index j = 0; j < d; ++j) {
    for (int pass = 0; pass < 2; ++pass) {
      for (Index i = 0; i < j; ++i) u.col(j) -= u.col(i).dot(u.col(j)) * u.col(i);
      u.col(j).normalize();
    }
  }
  return u;
}

// Geometric from 1 down to 1 / condition, divided by the sum.
inline WideVector geometric_spectrum(Index d, Wide condition) {
  WideVector l(d);
  for (Index i = 0; i < d; ++i) l(i) = std::pow(condition, -Wide(i) / Wide(std::max<Index>(d - 1, 1)));
  return l / l.sum();
}

// U diag(l) U^T, trace 1, with the T-step iterate P and its derivative in a direction.
struct Problem {
  WideMatrix u;
  WideVector l;

  Problem(Index d, Wide condition, unsigned seed) : u(random_rotation(d, seed)), l(geometric_spectrum(d, condition)) {}
  WideMatrix matrix() const { return product(u * l.asDiagonal(), u.transpose()); }

  // f_T(l) and its divided differences, each in the order of arguments that is stable.
  std::pair<WideVector, WideMatrix> polynomial(int steps) const {
    Index const d = l.size();
    WideVector f = WideVector::Ones(d);
    WideMatrix k = WideMatrix::Zero(d, d);
    for (int step = 0; step < steps; ++step) {
      for (Index i = 0; i < d; ++i) {
        for (Index j = 0; j < d; ++j) {
          Index const low = l(i) <= l(j) ? i : j, high = i + j - low;
          Wide const squares = f(i) * f(i) + f(i) * f(j) + f(j) * f(j);
          k(i, j) = 1.5L * k(i, j) - .5L * (squares * k(i, j) * l(low) + f(high) * f(high) * f(high));
        }
      }
      for (Index i = 0; i < d; ++i) f(i) = f(i) * (1.5L - .5L * f(i) * f(i) * l(i));
    }
    return {f, k};
  }
  WideMatrix iterate(int steps) const { return product(u * polynomial(steps).first.asDiagonal(), u.transpose()); }
  WideMatrix derivative(int steps, WideMatrix const& direction) const {
    WideMatrix const inner = product(product(u.transpose(), direction), u);
    return product(product(u, polynomial(steps).second.cwiseProduct(inner)), u.transpose());
  }
};

template <class Scalar>
foldnorm::Matrix<Scalar> rounded(WideMatrix const& a) {
  return a.template cast<Scalar>();
}

// ||a - reference|| / ||reference||.
template <class Scalar>
double relative_error(foldnorm::Matrix<Scalar> const& a, WideMatrix const& reference) {
  return static_cast<double>((a.template cast<Wide>() - reference).norm() / reference.norm());
}

}  // namespace spectra
