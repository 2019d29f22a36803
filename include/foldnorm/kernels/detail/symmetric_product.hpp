// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/symmetric_product.hpp -- products that are known to be symmetric, for half the work.
#pragma once

#include <foldnorm/core/types.hpp>

#include <algorithm>

namespace foldnorm::detail {

// Copies the lower triangle of a square matrix into the upper one, in blocks whose two images fit a cache together.
template <real_scalar Scalar>
void mirror_lower(MatrixRef<Scalar> a) {
  constexpr Index block = 32;
  Index const n = a.rows();
  for (Index j = 0; j < n; j += block) {
    Index const width = std::min(block, n - j);
    a.block(j, j, width, width).template triangularView<Eigen::StrictlyUpper>() =
        a.block(j, j, width, width).transpose();
    for (Index i = j + width; i < n; i += block) {
      Index const height = std::min(block, n - i);
      a.block(j, i, width, height) = a.block(i, j, height, width).transpose();
    }
  }
}

// c = a b, where the product is symmetric in exact arithmetic: its lower triangle is computed, and mirrored.
// a, b: n x n, apart from c; c is resized.
template <class A, class B, real_scalar Scalar>
void symmetric_product(A const& a, B const& b, Matrix<Scalar>& c) {
  c.resize(a.rows(), a.rows());
  c.template triangularView<Eigen::Lower>() = a * b;
  mirror_lower<Scalar>(c);
}

// (a + a^T) / 2, in place.
template <real_scalar Scalar>
void symmetrize(Matrix<Scalar>& a) {
  for (Index j = 0; j < a.cols(); ++j) {
    for (Index i = j + 1; i < a.rows(); ++i) a(i, j) = (a(i, j) + a(j, i)) / 2;
  }
  mirror_lower<Scalar>(a);
}

}  // namespace foldnorm::detail
