// SPDX-License-Identifier: MIT
// foldnorm/losses/trace_loss.hpp -- how far the variances of whitened variables are from 1.
//
//   TL(Y) = sum_j (v_j - 1)^2,   v_j = sum_k (y_jk - mean(y_j))^2 / (m - 1)
//   dTL/dy_jk = 4 (v_j - 1) (y_jk - mean(y_j)) / (m - 1)
//
// Y: d x m, a row per variable. Of IterNorm with T steps (eps = 0, nu = m - 1) it is smallest where all eigenvalues are
// equal, and there it is not 0 but trace_loss_floor(d, T). Weng et al. 2024, arXiv:2305.16789.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>

#include <algorithm>

namespace foldnorm::inline FOLDNORM_ABI {

// Returns TL(y) and writes its gradient to dy (d x m), which may be y. Fewer than two samples have no variance: v = 0.
// NaN and inf give NaN. Sums in double.
template <real_scalar Scalar>
double trace_loss(ConstMatrixRef<Scalar> const& y, MatrixRef<Scalar> dy) {
  check_same_shape(y, dy, "trace_loss: y, dy");
  check_no_partial_overlap(y, dy, "trace_loss: y, dy");
  constexpr Index most = 64;  // variables at a time, whose sums lie on the stack: nothing is allocated
  using Sums = Eigen::Matrix<double, Eigen::Dynamic, 1, 0, most, 1>;
  Index const m = y.cols();
  auto const divisor = static_cast<double>(std::max<Index>(m - 1, 1));
  double loss = 0;
  for (Index begin = 0; begin < y.rows(); begin += most) {
    Index const d = std::min(most, y.rows() - begin);
    auto const part = [&](Index k) { return y.col(k).segment(begin, d).template cast<double>(); };
    Sums mean = Sums::Zero(d), variance = Sums::Zero(d);
    for (Index k = 0; k < m; ++k) mean += part(k);
    mean /= static_cast<double>(std::max<Index>(m, 1));
    for (Index k = 0; k < m; ++k) variance += (part(k) - mean).cwiseAbs2();
    variance /= divisor;
    Sums const factor = 4 / divisor * (variance.array() - 1);
    for (Index k = 0; k < m; ++k) {
      dy.col(k).segment(begin, d) = factor.cwiseProduct(part(k) - mean).template cast<Scalar>();
    }
    loss += (variance.array() - 1).square().sum();
  }
  return loss;
}

// The least trace loss that T steps of IterNorm can reach on d variables: d (1 - phi_T(1/d))^2. Needs as many degrees
// of freedom as variables to be reached. 0 variables: 0.
inline double trace_loss_floor(Index variables, int iterations) {
  if (variables < 0 || iterations < 0) {
    detail::throw_invalid("trace_loss_floor: variables, iterations", ": expected numbers >= 0");
  }
  if (variables == 0) return 0;
  auto const d = static_cast<double>(variables);
  double phi = 1 / d;
  for (int k = 0; k < iterations; ++k) phi = phi * (3 - phi) * (3 - phi) / 4;
  return d * (1 - phi) * (1 - phi);
}

}  // namespace foldnorm::inline FOLDNORM_ABI
