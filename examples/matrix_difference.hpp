// SPDX-License-Identifier: MIT
// examples/matrix_difference.hpp -- how far two matrices are apart.
#pragma once

#include <Eigen/Core>

#include <limits>

namespace foldnorm {

// The largest |a - b|; infinite where a difference is no number, which a maximum might pass over. 0 without entries.
template <class A, class B>
double matrix_difference(Eigen::MatrixBase<A> const& a, Eigen::MatrixBase<B> const& b) {
  auto const apart = (a - b).template cast<double>().eval();
  if (!apart.allFinite()) return std::numeric_limits<double>::infinity();
  return apart.size() == 0 ? 0 : apart.cwiseAbs().maxCoeff();
}

// That, over the largest |a|; 0 if they are equal.
template <class A, class B>
double relative_difference(Eigen::MatrixBase<A> const& a, Eigen::MatrixBase<B> const& b) {
  double const difference = matrix_difference(a, b);
  bool const has_ratio = difference > 0 && difference < std::numeric_limits<double>::infinity();
  return has_ratio ? difference / static_cast<double>(a.cwiseAbs().maxCoeff()) : difference;
}

}  // namespace foldnorm
