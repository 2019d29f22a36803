// SPDX-License-Identifier: MIT
// foldnorm/kernels/covariance.hpp -- mean and scatter of a batch of samples, merging them, and the covariance they
// give.
//
//   mean = X 1 / m,   scatter = sum over samples of (x - mean)(x - mean)^T,   Sigma = scatter / nu, then regularized
//
// X is features x samples. Samples are centered before they are multiplied: E[x x^T] - mean mean^T loses the digits of
// data with a large mean, and its trace may come out negative. Statistics are kept in double for both scalars. Merging:
// Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/detail/symmetric_product.hpp>

#include <algorithm>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace foldnorm::inline FOLDNORM_ABI {

// Adds up a vector over all machines that share a batch, in place (MPI_Allreduce with MPI_SUM). Empty: one machine.
using SumOverMachines = std::function<void(std::span<double>)>;

// What eps does to Sigma0 = scatter / nu (d x d).
enum class Regularization {
  absolute,   // Sigma0 + eps I
  relative,   // Sigma0 + eps (tr(Sigma0) / d) I, for features of any scale
  shrinkage,  // (1 - eps) Sigma0 + eps I, eps < 1
};

struct CovarianceOptions {
  int degrees_of_freedom_taken = 0;  // nu = samples - this: 0 or 1
  double eps = 1e-5;
  Regularization regularization = Regularization::absolute;
};

struct BatchStatistics {
  double count = 0;        // samples
  Vector<double> mean;     // d
  Matrix<double> scatter;  // d x d, both triangles
};

inline void check_covariance_options(CovarianceOptions const& options, char const* function) {
  check_epsilon(options.eps, function);
  if (options.regularization == Regularization::shrinkage && options.eps >= 1) {
    detail::raise<std::invalid_argument>(std::string(function) + ": eps is " + std::to_string(options.eps) +
                                         ", expected a shrinkage below 1");
  }
  if (options.degrees_of_freedom_taken < 0 || options.degrees_of_freedom_taken > 1) {
    detail::raise<std::invalid_argument>(std::string(function) + ": degrees_of_freedom_taken is " +
                                         std::to_string(options.degrees_of_freedom_taken) + ", expected 0 or 1");
  }
}

// The divisor of a covariance; 0 where there is none to divide by, and nothing to divide.
inline double covariance_divisor(double count, CovarianceOptions const& options) {
  return std::max(count - options.degrees_of_freedom_taken, 0.0);
}

namespace detail {

// Features that are worked on together, so that what is kept of each stays in registers or the nearest cache.
inline constexpr Index feature_block = 64;

// mean: d; 0 with no samples. Sums differences from the first sample, so that equal samples have exactly their mean.
template <real_scalar Scalar>
void mean_of_samples(ConstMatrixRef<Scalar> const& x, Eigen::Ref<Vector<double>> mean) {
  mean.setZero();
  if (x.cols() == 0) return;
  double first[feature_block], sum[feature_block];
  for (Index begin = 0; begin < x.rows(); begin += feature_block) {
    Index const n = std::min(feature_block, x.rows() - begin);
    Scalar const* const block = x.data() + begin;
    for (Index i = 0; i < n; ++i) {
      first[i] = static_cast<double>(block[i]);
      sum[i] = 0;
    }
    for (Index j = 1; j < x.cols(); ++j) {
      Scalar const* const sample = block + j * x.outerStride();
      for (Index i = 0; i < n; ++i) sum[i] += static_cast<double>(sample[i]) - first[i];
    }
    for (Index i = 0; i < n; ++i) mean(begin + i) = first[i] + sum[i] / static_cast<double>(x.cols());
  }
}

// centered = (x - mean) * scale, for a power of two. The mean is taken away in two words: rounded to float it would
// leave u |mean| in every value.
template <real_scalar Scalar>
void center_samples(ConstMatrixRef<Scalar> const& x, ConstVectorRef<double> const& mean, double scale,
                    MatrixRef<Scalar> centered) {
  Scalar high[feature_block], low[feature_block];
  auto const factor = static_cast<Scalar>(scale);
  for (Index begin = 0; begin < x.rows(); begin += feature_block) {
    Index const n = std::min(feature_block, x.rows() - begin);
    for (Index i = 0; i < n; ++i) {
      high[i] = static_cast<Scalar>(mean(begin + i) * scale);
      low[i] = static_cast<Scalar>(mean(begin + i) * scale - static_cast<double>(high[i]));
    }
    for (Index j = 0; j < x.cols(); ++j) {
      Scalar const* const sample = x.data() + begin + j * x.outerStride();
      Scalar* const result = centered.data() + begin + j * centered.outerStride();
      for (Index i = 0; i < n; ++i) result[i] = (sample[i] * factor - high[i]) - low[i];
    }
  }
}

// Samples that are multiplied at once. Floats are multiplied and added up in float for as many, then in double.
inline constexpr Index sample_slice = 256;

// Adds factor * centered centered^T to the lower triangle of scatter (d x d).
template <real_scalar Scalar>
void add_scatter(ConstMatrixRef<Scalar> const& centered, double factor, Matrix<Scalar>& slice_scatter,
                 MatrixRef<double> scatter) {
  if (centered.size() == 0) return;  // Eigen would take the address of nothing
  if constexpr (std::is_same_v<Scalar, double>) {
    scatter.template selfadjointView<Eigen::Lower>().rankUpdate(centered, factor);
  } else {
    slice_scatter.setZero(centered.rows(), centered.rows());
    slice_scatter.template selfadjointView<Eigen::Lower>().rankUpdate(centered);
    scatter.template triangularView<Eigen::Lower>() += factor * slice_scatter.template cast<double>();
  }
}

// scatter = centered centered^T / scale^2 (d x d, both triangles).
template <real_scalar Scalar>
void scatter_of_centered(ConstMatrixRef<Scalar> const& centered, double scale, Matrix<Scalar>& slice_scatter,
                         MatrixRef<double> scatter) {
  scatter.setZero();
  for (Index j = 0; j < centered.cols(); j += sample_slice) {
    Index const n = std::min(sample_slice, centered.cols() - j);
    add_scatter<Scalar>(centered.middleCols(j, n), 1 / (scale * scale), slice_scatter, scatter);
  }
  mirror_lower<double>(scatter);
}

}  // namespace detail

// Statistics of x (d x m) over its samples, float or double. No samples: count 0 and zeros. Equal samples give exactly
// their mean and a scatter of 0. NaN and inf spread to the rows and columns of their feature. Squares of deviations
// must fit the scalar.
template <dense_expression X>
BatchStatistics batch_statistics(Eigen::MatrixBase<X> const& x) {
  using Scalar = typename X::Scalar;
  check_strides(x, "batch_statistics: x");
  ConstMatrixRef<Scalar> const source(x.derived());
  Index const d = source.rows(), m = source.cols();
  BatchStatistics s{.count = static_cast<double>(m), .mean = Vector<double>(d), .scatter = Matrix<double>::Zero(d, d)};
  detail::mean_of_samples<Scalar>(source, s.mean);
  Matrix<Scalar> centered(d, std::min(detail::sample_slice, m)), slice_scatter;
  for (Index j = 0; j < m; j += detail::sample_slice) {
    Index const n = std::min(detail::sample_slice, m - j);
    detail::center_samples<Scalar>(source.middleCols(j, n), s.mean, 1, centered.leftCols(n));
    detail::add_scatter<Scalar>(centered.leftCols(n), 1, slice_scatter, s.scatter);
  }
  detail::mirror_lower<double>(s.scatter);
  return s;
}

namespace detail {

// matrix += factor * v v^T (d x d). By hand, as below: whatever functions that are no templates say in Eigen's
// expressions is compiled in every file that includes them.
inline void add_outer_square(double factor, Vector<double> const& v, Matrix<double>& matrix) {
  for (Index j = 0; j < v.size(); ++j) {
    for (Index i = 0; i < v.size(); ++i) matrix(i, j) += factor * v(i) * v(j);
  }
}

}  // namespace detail

// The statistics of both batches together, which are over the same features (else shape_error). Whatever the partition
// of a batch, merging gives its statistics to about u (1 + |mean| / deviation) of the scatter, in double.
inline BatchStatistics merge(BatchStatistics const& a, BatchStatistics const& b) {
  check_size(b.mean.size(), a.mean.size(), "merge: features of the second statistics");
  double const count = a.count + b.count;
  if (count == 0) return a;
  double const weight = b.count / count;
  BatchStatistics both{.count = count, .mean = a.mean, .scatter = a.scatter};
  Vector<double> difference(a.mean.size());
  for (Index i = 0; i < difference.size(); ++i) {
    difference(i) = b.mean(i) - a.mean(i);
    both.mean(i) += weight * difference(i);
  }
  for (Index i = 0; i < both.scatter.size(); ++i) both.scatter.data()[i] += b.scatter.data()[i];
  detail::add_outer_square(a.count * weight, difference, both.scatter);
  return both;
}

// Statistics of the samples of all machines from those of each: two sums, first of the means, then of the scatters
// about the common mean.
inline BatchStatistics merge_over_machines(BatchStatistics const& own, SumOverMachines const& sum) {
  Index const d = own.mean.size();
  Vector<double> sums(d + 1);
  sums(0) = own.count;
  for (Index i = 0; i < d; ++i) sums(1 + i) = own.count * own.mean(i);
  sum({sums.data(), static_cast<std::size_t>(sums.size())});
  BatchStatistics all{.count = sums(0), .mean = Vector<double>(d), .scatter = own.scatter};
  Vector<double> difference(d);
  for (Index i = 0; i < d; ++i) {
    all.mean(i) = all.count > 0 ? sums(1 + i) / all.count : 0;
    difference(i) = own.mean(i) - all.mean(i);
  }
  detail::add_outer_square(own.count, difference, all.scatter);
  sum({all.scatter.data(), static_cast<std::size_t>(all.scatter.size())});
  return all;
}

// Sigma from a scatter of `count` samples. With no divisor (one sample, n - 1) the scatter is 0 and counts as Sigma0.
inline void covariance(ConstMatrixRef<double> const& scatter, double count, CovarianceOptions const& options,
                       Matrix<double>& sigma) {
  double const divisor = covariance_divisor(count, options);
  bool const shrinks = options.regularization == Regularization::shrinkage;
  double const unit = divisor > 0 ? 1 / divisor : 0, kept = shrinks ? 1 - options.eps : 1;
  Index const d = scatter.rows();
  sigma.resize(d, d);
  double trace = 0;  // of Sigma0
  for (Index j = 0; j < d; ++j) {
    for (Index i = 0; i < d; ++i) sigma(i, j) = scatter(i, j) * unit * kept;
    trace += scatter(j, j) * unit;
  }
  bool const is_relative = options.regularization == Regularization::relative && d > 0;
  double const added = options.eps * (is_relative ? trace / static_cast<double>(d) : 1);
  for (Index i = 0; i < d; ++i) sigma(i, i) += added;
}

// The same, returned. Options out of range throw std::invalid_argument.
inline Matrix<double> covariance(BatchStatistics const& statistics, CovarianceOptions const& options) {
  check_covariance_options(options, "covariance");
  Matrix<double> sigma;
  covariance(statistics.scatter, statistics.count, options, sigma);
  return sigma;
}

namespace detail {

// From the gradient by Sigma (gradient, in place) to that by Sigma0; returns that by eps. unit: what the gradient is
// multiplied by to be one by Sigma itself.
template <real_scalar Scalar>
double covariance_backward(CovarianceOptions const& options, Matrix<double> const& sigma, double unit,
                           Matrix<Scalar>& gradient) {
  double const trace = static_cast<double>(gradient.trace());
  double const d = static_cast<double>(gradient.rows());
  double const eps = options.eps;
  switch (options.regularization) {
    case Regularization::absolute:
      return unit * trace;
    case Regularization::relative:
      gradient.diagonal().array() += static_cast<Scalar>(eps / d * trace);
      return unit * trace * sigma.trace() / (1 + eps) / d;
    case Regularization::shrinkage: {
      double const by_sigma = gradient.template cast<double>().cwiseProduct(sigma).sum();
      gradient *= static_cast<Scalar>(1 - eps);
      return unit * (trace - by_sigma) / (1 - eps);  // <G, I - Sigma0>, Sigma0 = (Sigma - eps I) / (1 - eps)
    }
  }
  return 0;
}

}  // namespace detail
}  // namespace foldnorm::inline FOLDNORM_ABI
