// SPDX-License-Identifier: MIT
// foldnorm/kernels/center.hpp -- take every sample's mean away.
//
//   y  = C x,   C = I - 1 1^T / n        forward
//   dx = C dy                            backward: C is symmetric, so the function is its own adjoint
//
// C is also idempotent; LayerNorm is gain and shift after rms_norm after center.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/detail/moments.hpp>

#include <cmath>

namespace foldnorm {
namespace detail {

template <real_scalar Scalar>
void center_sample(Scalar const* from, Index n, Scalar* y) {
  auto const x = [from](Index i) { return from[i]; };
  SampleStatistics s;
  find_mean(x, n, s);
  if (!std::isfinite(s.mean_high)) {  // a sum of differences beyond the range: scale to about 1
    s = SampleStatistics{.scale = rescue_scale(largest_magnitude(x, n), 0)};
    find_mean(x, n, s);
  }
  for (Index i = 0; i < n; ++i) y[i] = static_cast<Scalar>(deviation(x(i), s) / s.scale);
}

}  // namespace detail

// Writes x minus its column means into y. x, y: n x m. The mean is summed in double (double storage: compensated) and
// held in two words, so a large mean loses nothing and every y is x - mean rounded about once; constant columns give
// exact zeros. y may be x itself; any other overlap throws std::invalid_argument, different shapes shape_error, before
// anything is written. A NaN or inf makes its own column NaN and no other. An expression x is evaluated once;
// row-major, transposed and inner-strided ones are copied.
template <dense_expression X>
void center(Eigen::MatrixBase<X> const& x, MatrixRef<typename X::Scalar> y) {
  check_strides(x, "center: x");
  ConstMatrixRef<typename X::Scalar> const source(x.derived());
  check_same_shape(source, y, "center: x, y");
  check_no_partial_overlap(source, y, "center: x, y");
  if (source.rows() == 0) return;
  for (Index j = 0; j < source.cols(); ++j) {
    detail::center_sample(source.data() + j * source.outerStride(), source.rows(), y.data() + j * y.outerStride());
  }
}

// The same, returned.
template <dense_expression X>
Matrix<typename X::Scalar> center(Eigen::MatrixBase<X> const& x) {
  Matrix<typename X::Scalar> y(x.rows(), x.cols());
  center(x, y);
  return y;
}

}  // namespace foldnorm
