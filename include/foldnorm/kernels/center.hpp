// SPDX-License-Identifier: MIT
// foldnorm/kernels/center.hpp -- take every column's mean away.
//
//   y  = C x,   C = I - 1 1^T / n        forward
//   dx = C dy                            backward: C is symmetric, so the function is its own adjoint
//
// C is also idempotent. The columns are samples: LayerNorm is gain and shift after rms_norm after center. Or they are
// weights, out x in: center(V, W) is column-based weight centering (CBWC), W = V - 1 colmean(V), and center(dW, dV) its
// backward. Foldable LayerNorm, arXiv:2605.14521; layers/centered.hpp trains with it.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/detail/lane_sums.hpp>
#include <foldnorm/kernels/detail/moments.hpp>

#include <cmath>
#include <type_traits>

namespace foldnorm::inline FOLDNORM_ABI {
namespace detail {

template <real_scalar Scalar>
void center_sample(Scalar const* from, Index n, Scalar* y) {
  auto const x = [from](Index i) { return from[i]; };
  SampleStatistics const s = mean_of_sample(x, n);
  for (Index i = 0; i < n; ++i) y[i] = static_cast<Scalar>(deviation(x(i), s) / s.scale);
}

// `count` samples side by side, so that their chains of additions overlap: y = (x - K) - mean(x - K), K = x[0], in
// Scalar. Each sample's bits are its own.
template <int count, real_scalar Scalar>
void center_samples_fast(Scalar const* x, Index x_stride, Index n, Scalar* y, Index y_stride) {
  Index const whole = n - n % width<Scalar>;
  Pack<Scalar> shift[count], sum[count], mean[count];
  bool finite = true;
  unrolled<count>([&](int r) FOLDNORM_INLINE_LAMBDA {
    shift[r] = broadcast(x[r * x_stride]);
    sum[r] = Pack<Scalar>{};
  });
  for (Index i = 0; i < whole; i += width<Scalar>) {
    unrolled<count>([&](int r) FOLDNORM_INLINE_LAMBDA { sum[r] += load(x + r * x_stride + i) - shift[r]; });
  }
  unrolled<count>([&](int r) FOLDNORM_INLINE_LAMBDA {
    Scalar total = lane_sum<Scalar>(sum[r])[0];
    for (Index i = whole; i < n; ++i) total += x[r * x_stride + i] - shift[r][0];
    finite = finite && std::isfinite(total);
    mean[r] = broadcast(total / static_cast<Scalar>(n));
  });
  if (!finite) {
    if constexpr (count == 1) {
      center_sample(x, n, y);
    } else {  // the others as ever
      for (Index r = 0; r < count; ++r) center_samples_fast<1>(x + r * x_stride, 0, n, y + r * y_stride, 0);
    }
    return;
  }
  for (Index i = 0; i < whole; i += width<Scalar>) {
    unrolled<count>([&](int r) FOLDNORM_INLINE_LAMBDA {
      store<Scalar>(y + r * y_stride + i, (load(x + r * x_stride + i) - shift[r]) - mean[r]);
    });
  }
  unrolled<count>([&](int r) FOLDNORM_INLINE_LAMBDA {
    for (Index i = whole; i < n; ++i) y[r * y_stride + i] = (x[r * x_stride + i] - shift[r][0]) - mean[r][0];
  });
}

template <real_scalar Scalar>
void center_fast(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y) {
  constexpr Index together = 4;
  auto const center_next = [&]<int count>(Index j, std::integral_constant<int, count>) {
    center_samples_fast<count>(x.data() + j * x.outerStride(), x.outerStride(), x.rows(),
                               y.data() + j * y.outerStride(), y.outerStride());
  };
  Index j = 0;
  for (; j + together <= x.cols(); j += together) center_next(j, std::integral_constant<int, together>{});
  for (; j < x.cols(); ++j) center_next(j, std::integral_constant<int, 1>{});
}

}  // namespace detail

// Writes x minus its column means into y. x, y: n x m. The mean is summed in double (double storage: compensated) and
// held in two words, so a large mean loses nothing and every y is x - mean rounded about once; constant columns give
// exact zeros. y may be x itself; any other overlap throws std::invalid_argument, different shapes shape_error, before
// anything is written. A NaN or inf makes its own column NaN and no other. An expression x is evaluated once;
// row-major, transposed and inner-strided ones are copied.
//
// Accuracy::fast, meant for weights, takes about the time of a copy where the matrix leaves the first-level cache, and
// a third to a fifth of the accurate one's: all in the matrix's type, relative to the column's first entry, so that a
// common offset loses nothing; the mean is within n u times the largest |x - x[0]| of the column.
template <dense_expression X>
void center(Eigen::MatrixBase<X> const& x, MatrixRef<typename X::Scalar> y, Accuracy accuracy = Accuracy::accurate) {
  check_strides(x, "center: x");
  ConstMatrixRef<typename X::Scalar> const source(x.derived());
  check_same_shape(source, y, "center: x, y");
  check_no_partial_overlap(source, y, "center: x, y");
  if (source.rows() == 0) return;
  if (accuracy == Accuracy::fast) return detail::center_fast<typename X::Scalar>(source, y);
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

}  // namespace foldnorm::inline FOLDNORM_ABI
