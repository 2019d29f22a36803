// SPDX-License-Identifier: MIT
// foldnorm/constructions/separability.hpp -- how much of the samples' scatter lies within classes, and the least that
// any affine map can leave: the bound that linear networks cannot cross, and one LayerNorm can.
//
//   SS(X) = sum_i ||x_i - mean||^2,   SSR = sum_c SS(X_c) / SS(X)                        in [0, 1]
//   LSSR  = inf over affine f of SSR(f(X)) = least lambda with S_w u = lambda S_t u, u in range(S_t)
//
// S_w, S_t: scatter within the classes, and in all; u is Fisher's direction. Names from Ni et al. 2024,
// arXiv:2406.01255; the eigenvalue form is standard.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>

#include <Eigen/Eigenvalues>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

// The samples less their class's mean.
inline Matrix<double> within_classes(ConstMatrixRef<double> const& x, std::vector<int> const& labels) {
  std::map<int, std::pair<Vector<double>, double>> sums;
  for (Index j = 0; j < x.cols(); ++j) {
    auto& [sum, count] =
        sums.try_emplace(labels[static_cast<std::size_t>(j)], Vector<double>::Zero(x.rows()), 0).first->second;
    sum += x.col(j);
    count += 1;
  }
  Matrix<double> result = x;
  for (Index j = 0; j < x.cols(); ++j) {
    auto const& [sum, count] = sums.at(labels[static_cast<std::size_t>(j)]);
    result.col(j) -= sum / count;
  }
  return result;
}

inline void check_labelled(ConstMatrixRef<double> const& x, std::vector<int> const& labels, char const* function) {
  check_size(static_cast<Index>(labels.size()), x.cols(), {function, "labels"});
  if (!x.allFinite()) throw_invalid({function, "x"}, " is not finite");
  if (x.size() == 0 || (x.colwise() - x.col(0)).isZero(0))
    throw_invalid({function, "x"}, ": all samples are equal, so there is no scatter to compare with");
}

}  // namespace detail

namespace detail {

// Deviations from the mean, times a power of two, so that squares neither overflow nor vanish: the ratio depends on
// neither shift nor scale. Precondition: not all samples are equal.
inline Matrix<double> comparable(ConstMatrixRef<double> const& x) {
  Matrix<double> result = x.colwise() - x.col(0);
  if (!result.allFinite()) result = (0.5 * x).colwise() - 0.5 * x.col(0);
  result *= std::ldexp(1.0, -std::clamp(std::ilogb(result.cwiseAbs().maxCoeff()), -1000, 1000));
  return result.colwise() - result.rowwise().mean().eval();
}

}  // namespace detail

// x: n x m, one label a column. Throws shape_error for a wrong number of labels, std::invalid_argument for values that
// are not finite and where the ratio is undefined: no samples, or all of them equal.
inline double ssr(ConstMatrixRef<double> const& x, std::vector<int> const& labels) {
  detail::check_labelled(x, labels, "ssr");
  Matrix<double> const centered = detail::comparable(x);
  return std::min(1.0, detail::within_classes(centered, labels).squaredNorm() / centered.squaredNorm());
}

namespace detail {

struct LeastSsr {
  double value;
  Vector<double> direction;
};

inline LeastSsr least_ssr(ConstMatrixRef<double> const& x, std::vector<int> const& labels, char const* function) {
  check_labelled(x, labels, function);
  Matrix<double> const centered = comparable(x);
  Matrix<double> const scatter_of_all = centered * centered.transpose();
  Eigen::SelfAdjointEigenSolver<Matrix<double>> const total(scatter_of_all);
  Vector<double> const& scatter = total.eigenvalues();
  Index kept = 0;
  while (kept < scatter.size() && scatter(scatter.size() - 1 - kept) > 1e-12 * scatter(scatter.size() - 1)) ++kept;
  Matrix<double> const whitening =
      total.eigenvectors().rightCols(kept) * scatter.tail(kept).cwiseSqrt().cwiseInverse().asDiagonal();
  Matrix<double> const within = whitening.transpose() * within_classes(centered, labels);
  Matrix<double> const scatter_within = within * within.transpose();
  Eigen::SelfAdjointEigenSolver<Matrix<double>> const ratio(scatter_within);
  return {std::clamp(ratio.eigenvalues()(0), 0.0, 1.0), (whitening * ratio.eigenvectors().col(0)).normalized()};
}

}  // namespace detail

// In [0, 1]. Errors as ssr(). Directions in which the scatter is below 1e-12 of its largest count as flat. Costs
// O(n^2 m + n^3).
inline double lssr(ConstMatrixRef<double> const& x, std::vector<int> const& labels) {
  return detail::least_ssr(x, labels, "lssr").value;
}
// The direction u of norm 1 that attains it: ssr(u . x) = lssr(x).
inline Vector<double> lssr_direction(ConstMatrixRef<double> const& x, std::vector<int> const& labels) {
  return detail::least_ssr(x, labels, "lssr_direction").direction;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
