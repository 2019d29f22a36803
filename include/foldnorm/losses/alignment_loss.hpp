// SPDX-License-Identifier: MIT
// foldnorm/losses/alignment_loss.hpp -- how far two views of the same samples point apart.
//
//   align(A, B) = 2 - 2 mean_n cos(a_n, b_n)            the mean squared distance of the columns, scaled to length 1
//   da_n = -(2 / N) (b^ - (a^ . b^) a^) / ||a_n||       a^, b^: the unit columns; symmetric in b
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <cmath>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

// Of a column whose squares may overflow. (stableNorm alone would take NaN for 0.)
template <class Column>
double column_length(Column const& column) {
  double const norm = column.norm();
  return std::isinf(norm) ? column.stableNorm() : norm;
}

}  // namespace detail

// Returns align(a, b) and adds weight times its gradients to da and db (all features x samples; each apart from all
// others). A column shorter than 1e-12 counts as a/1e-12 and has gradient 0, as in the frameworks. No samples: 0. NaN
// spreads to the value and to its own column's gradients.
template <real_scalar Scalar>
double alignment_loss(ConstMatrixRef<Scalar> const& a, ConstMatrixRef<Scalar> const& b, double weight,
                      MatrixRef<Scalar> da, MatrixRef<Scalar> db) {
  check_same_shape(a, b, "alignment_loss: a, b");
  check_same_shape(a, da, "alignment_loss: a, da");
  check_same_shape(b, db, "alignment_loss: b, db");
  check_apart(da, db, "alignment_loss: da, db");
  check_apart(a, da, "alignment_loss: a, da");
  check_apart(a, db, "alignment_loss: a, db");
  check_apart(b, da, "alignment_loss: b, da");
  check_apart(b, db, "alignment_loss: b, db");
  if (a.cols() == 0) return 0;
  constexpr double shortest = 1e-12;
  auto const samples = static_cast<double>(a.cols());
  double cosines = 0;
  for (Index n = 0; n < a.cols(); ++n) {
    // Expressions, not vectors: nothing is allocated.
    auto const a_n = a.col(n).template cast<double>();
    auto const b_n = b.col(n).template cast<double>();
    double const a_length = detail::column_length(a_n), b_length = detail::column_length(b_n);
    double const by_a = 1 / std::max(a_length, shortest), by_b = 1 / std::max(b_length, shortest);
    double const cosine = (by_a * a_n).dot(by_b * b_n);
    cosines += cosine;
    double const factor = -2 * weight / samples;
    if (!(a_length < shortest)) {
      da.col(n) += (factor * by_a * (by_b * b_n - cosine * by_a * a_n)).template cast<Scalar>();
    }
    if (!(b_length < shortest)) {
      db.col(n) += (factor * by_b * (by_a * a_n - cosine * by_b * b_n)).template cast<Scalar>();
    }
  }
  return 2 - 2 * cosines / samples;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
