// SPDX-License-Identifier: MIT
// foldnorm/whitening/whitening.hpp -- the layer that every whitening is: center, decorrelate groups of features, gain
// and shift; in training by the batch's own statistics, at inference by running ones.
//
//   y = gamma * W (x - mean) + beta,   W from Sigma = scatter / nu, regularized       one W per group of features
//
// How W comes from Sigma is the Method: IterNorm, SpectralTransformation, Zca, Pca, CholeskyWhitening are aliases.
// Gradients go through mean, covariance and W. Batch Normalization's decorrelated relatives: Huang et al. 2018,
// arXiv:1804.08450 (groups, running statistics), and 2019, arXiv:1904.03441.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/covariance.hpp>
#include <foldnorm/whitening/inference_whitening.hpp>
#include <foldnorm/whitening/whitening_cache.hpp>
#include <foldnorm/whitening/whitening_group.hpp>
#include <foldnorm/whitening/whitening_options.hpp>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar, class Method>
class Whitening {
 public:
  using Cache = WhiteningCache<Scalar, Method>;

  Vector<Scalar> gamma;  // features; 1 and 0 until the caller trains them
  Vector<Scalar> beta;

  // Throws std::invalid_argument for options out of their range. Running mean 0, running W or Sigma0 = I.
  explicit Whitening(Index features, WhiteningOptions const& options = {}, Method const& method = {})
      : gamma(Vector<Scalar>::Ones(checked_not_negative(features, "Whitening: features"))),
        beta(Vector<Scalar>::Zero(features)),
        options_(options),
        method_(method),
        running_mean_(Vector<double>::Zero(features)) {
    check_covariance_options(options.covariance, "Whitening");
    method.check();
    if (options.group_size < 0) detail::throw_invalid("Whitening: group_size", " is negative");
    if (!(options.momentum >= 0 && options.momentum <= 1)) {
      detail::throw_invalid("Whitening: momentum", " is not between 0 and 1");
    }
    for (Index begin = 0; begin < features; begin += group_size()) {
      Index const d = std::min(group_size(), features - begin);
      running_matrices_.push_back(Matrix<double>::Identity(d, d));
    }
  }

  Index features() const { return running_mean_.size(); }
  WhiteningOptions const& options() const { return options_; }
  Method const& method() const { return method_; }

  // Whitens x into y (features x samples; y may be x, or overlap it) by the statistics of x, or with `sum` of the
  // samples of all machines. Shapes that disagree throw shape_error before anything is written. If the report's status
  // says so (wrote_output) y is untouched; a NaN or inf anywhere in x makes it not_finite. Degenerate groups give beta.
  // With fewer samples than features, or eps = 0, W is large or undefined where samples do not vary: 1.5^T / sqrt(t) at
  // most for IterNorm, not_positive_definite for the others. Groups are shared over OpenMP threads.
  WhiteningReport forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y, Cache& cache,
                          SumOverMachines const& sum = {}) const;

  // From dy (features x samples) to dx (the same, apart from dy), dgamma and dbeta (features, or `none`), for the last
  // forward of the cache; with `sum`, of a loss that is a sum over machines: dgamma and
  // dbeta are its whole gradients. May be called again.
  // Returns the gradient by eps, of all groups together. Columns of dx sum to zero. Throws shape_error for other
  // shapes and the cache of a layer with other groups, std::invalid_argument for a cache whose last forward wrote
  // nothing and for dgamma or dbeta that share memory with each other, dy, dx, gamma or beta. NaN in dy makes its
  // group's dx NaN.
  double backward(ConstMatrixRef<Scalar> const& dy, Cache& cache, MatrixRef<Scalar> dx,
                  OptionalOutput<Scalar> const& dgamma, OptionalOutput<Scalar> const& dbeta,
                  SumOverMachines const& sum = {}) const;

  // Takes the statistics of the cache's last forward into the running ones; groups that were degenerate and
  // batches without degrees of freedom leave theirs as they are. Throws std::invalid_argument for a cache whose last
  // forward wrote nothing, shape_error for that of a layer with other groups.
  void update_running(Cache const& cache);

  // The layer at inference. Empty if a running covariance has no whitener; a running whitener always is one.
  std::optional<InferenceWhitening<Scalar>> inference() const;

  // Running W or Sigma0 of each group, and the running mean; to be saved, or set by hand (the same shapes).
  std::vector<Matrix<double>>& running_matrices() { return running_matrices_; }
  Vector<double>& running_mean() { return running_mean_; }

 private:
  using Group = detail::WhiteningGroup<Method, Scalar>;

  Index group_size() const { return options_.group_size == 0 ? features() : std::min(options_.group_size, features()); }
  void check_parameters(char const* what) const {
    check_size(gamma.size(), features(), what);
    check_size(beta.size(), features(), what);
  }
  void check_cache(Cache const& cache, char const* function) const {
    if (!cache.filled) detail::throw_invalid({function, "cache"}, ": its last forward wrote no output");
    check_size(cache.mean.size(), features(), {function, "features of the cache"});
    check_size(cache.groups.empty() ? 0 : cache.groups[0].features, group_size(),
               {function, "group size of the cache"});
  }
  void check_apart_from_inputs(Eigen::Map<Vector<Scalar>> const& output, ConstMatrixRef<Scalar> const& dy,
                               MatrixRef<Scalar> const& dx, char const* what) const {
    check_apart(output, dy, what);
    check_apart(output, dx, what);
    check_apart(output, gamma, what);
    check_apart(output, beta, what);
  }
  void lay_out(Cache& cache) const {
    cache.groups.resize(running_matrices_.size());
    for (std::size_t i = 0; i < cache.groups.size(); ++i) {
      cache.groups[i].begin = static_cast<Index>(i) * group_size();
      cache.groups[i].features = running_matrices_[i].rows();
    }
  }

  // Mean and count over the samples of all machines.
  void find_mean(ConstMatrixRef<Scalar> const& x, Cache& cache, SumOverMachines const& sum) const;

  void backward_group(ConstMatrixRef<Scalar> const& dy, Cache const& cache, Group& group, MatrixRef<Scalar> dx) const;

  static ConstMatrixRef<Scalar> group_rows(ConstMatrixRef<Scalar> const& x, Group const& group) {
    return x.middleRows(group.begin, group.features);
  }
  static ConstVectorRef<double> group_part(Vector<double> const& v, Group const& group) {
    return v.segment(group.begin, group.features);
  }
  Eigen::Map<Vector<Scalar>> to_vector(Scalar* data) const { return {data, features()}; }
  template <class Write>
  static void write(OptionalOutput<Scalar> const& output, Write const& write_to) {
    if (output.present()) output.visit(write_to);
  }

  WhiteningOptions options_;
  Method method_;
  Vector<double> running_mean_;
  std::vector<Matrix<double>> running_matrices_;  // W or Sigma0 of each group
};

template <real_scalar Scalar, class Method>
WhiteningReport Whitening<Scalar, Method>::forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y, Cache& cache,
                                                   SumOverMachines const& sum) const {
  check_size(x.rows(), features(), "Whitening::forward: features of x");
  check_same_shape(x, y, "Whitening::forward: x, y");
  check_parameters("Whitening::forward: gamma, beta");
  cache.filled = false;
  lay_out(cache);
  find_mean(x, cache, sum);
  detail::share_groups(
      cache, [&](Group& group) { detail::find_scatter(group_rows(x, group), group_part(cache.mean, group), group); });
  if (sum) detail::sum_over_machines(cache, sum, [](Group& group) -> Matrix<double>& { return group.scatter; });
  detail::share_groups(cache, [&](Group& group) {
    covariance(group.scatter, cache.count, options_.covariance, group.sigma);
    detail::find_whitener(method_, group);
  });
  WhiteningReport worst;
  for (Group const& group : cache.groups) {
    worst.status = std::max(worst.status, group.report.status);
    worst.residual = std::max(worst.residual, group.report.residual);
  }
  if (!wrote_output(worst.status)) return worst;
  detail::share_groups(cache, [&](Group& group) {
    group.offset = gamma.segment(group.begin, group.features) * static_cast<Scalar>(group.unit());
    group.by_x.noalias() = group.offset.asDiagonal() * group.normalized.p;
    MatrixRef<Scalar> y_group(y.middleRows(group.begin, group.features));
    y_group.colwise() = beta.segment(group.begin, group.features);
    y_group.noalias() += group.by_x * group.centered;
  });
  cache.filled = true;
  return worst;
}

template <real_scalar Scalar, class Method>
double Whitening<Scalar, Method>::backward(ConstMatrixRef<Scalar> const& dy, Cache& cache, MatrixRef<Scalar> dx,
                                           OptionalOutput<Scalar> const& dgamma, OptionalOutput<Scalar> const& dbeta,
                                           SumOverMachines const& sum) const {
  check_cache(cache, "Whitening::backward");
  check_size(dy.rows(), features(), "Whitening::backward: features of dy");
  check_size(dy.cols(), cache.samples, "Whitening::backward: samples of dy");
  check_same_shape(dy, dx, "Whitening::backward: dy, dx");
  check_apart(dy, dx, "Whitening::backward: dy, dx");
  check_parameters("Whitening::backward: gamma, beta");
  if (dgamma.present()) check_same_shape(gamma, dgamma, "Whitening::backward: gamma, dgamma");
  if (dbeta.present()) check_same_shape(beta, dbeta, "Whitening::backward: beta, dbeta");
  write(dgamma, [&](Scalar* to) {
    check_apart_from_inputs(to_vector(to), dy, dx, "Whitening::backward: dgamma, one of dy, dx, gamma, beta");
    write(dbeta,
          [&](Scalar* other) { check_apart(to_vector(to), to_vector(other), "Whitening::backward: dgamma, dbeta"); });
  });
  write(dbeta, [&](Scalar* to) {
    check_apart_from_inputs(to_vector(to), dy, dx, "Whitening::backward: dbeta, one of dy, dx, gamma, beta");
  });

  cache.dy_sum.resize(features());
  detail::mean_of_samples<Scalar>(dy, cache.dy_sum);
  cache.dy_sum *= static_cast<double>(dy.cols());
  detail::share_groups(cache, [&](Group& group) {
    Matrix<Scalar>& dp = group.normalized.dp;  // not yet times gamma
    dp.noalias() = group_rows(dy, group) * group.centered.transpose();
    dp *= static_cast<Scalar>(group.unit());
  });
  if (sum) {
    sum({cache.dy_sum.data(), static_cast<std::size_t>(cache.dy_sum.size())});
    detail::sum_over_machines(cache, sum, [](Group& group) -> Matrix<Scalar>& { return group.normalized.dp; });
  }
  write(dbeta, [&](Scalar* to) { to_vector(to) = cache.dy_sum.template cast<Scalar>(); });
  write(dgamma, [&](Scalar* to) {
    for (Group const& group : cache.groups) {
      to_vector(to).segment(group.begin, group.features) =
          group.normalized.dp.cwiseProduct(group.normalized.p).rowwise().sum();
    }
  });
  detail::share_groups(cache, [&](Group& group) { backward_group(dy, cache, group, dx); });
  double deps = 0;
  for (Group const& group : cache.groups) deps += group.deps;
  return deps;
}

template <real_scalar Scalar, class Method>
void Whitening<Scalar, Method>::update_running(Cache const& cache) {
  check_cache(cache, "Whitening::update_running");
  double const divisor = covariance_divisor(cache.count, options_.covariance);
  if (divisor == 0) return;
  double const momentum = options_.momentum;
  for (std::size_t i = 0; i < cache.groups.size(); ++i) {
    Group const& group = cache.groups[i];
    if (group.report.status == WhiteningStatus::degenerate) continue;
    VectorRef<double> mean(running_mean_.segment(group.begin, group.features));
    mean = momentum * group_part(cache.mean, group) + (1 - momentum) * mean;
    running_matrices_[i] *= 1 - momentum;
    if (options_.running == RunningStatistics::whitener) {
      double const root = std::sqrt(group.normalized.trace);
      running_matrices_[i] += (momentum / root) * group.normalized.p.template cast<double>();
    } else {
      running_matrices_[i] += (momentum / divisor) * group.scatter;
    }
  }
}

template <real_scalar Scalar, class Method>
std::optional<InferenceWhitening<Scalar>> Whitening<Scalar, Method>::inference() const {
  check_parameters("Whitening::inference: gamma, beta");
  std::vector<Matrix<Scalar>> matrices;
  Index begin = 0;
  for (Matrix<double> const& running : running_matrices_) {
    Matrix<double> whitener = running;
    if (options_.running == RunningStatistics::covariance) {
      Group group;
      double const count_of_divisor_one = 1 + options_.covariance.degrees_of_freedom_taken;
      covariance(running, count_of_divisor_one, options_.covariance, group.sigma);
      detail::find_whitener(method_, group);
      if (!wrote_output(group.report.status)) return std::nullopt;
      whitener = group.normalized.p.template cast<double>() / std::sqrt(group.normalized.trace);
    }
    Vector<double> const gain = gamma.segment(begin, running.rows()).template cast<double>();
    matrices.push_back((gain.asDiagonal() * whitener).template cast<Scalar>());
    begin += running.rows();
  }
  return InferenceWhitening<Scalar>(std::move(matrices), running_mean_, beta);
}

template <real_scalar Scalar, class Method>
void Whitening<Scalar, Method>::find_mean(ConstMatrixRef<Scalar> const& x, Cache& cache,
                                          SumOverMachines const& sum) const {
  cache.mean.resize(features());
  cache.samples = x.cols();
  cache.count = static_cast<double>(x.cols());
  detail::mean_of_samples<Scalar>(x, cache.mean);
  if (!sum) return;
  cache.shared.resize(static_cast<std::size_t>(features()) + 1);
  Eigen::Map<Vector<double>> sums(cache.shared.data(), features() + 1);
  sums << cache.count, cache.count * cache.mean;
  sum(cache.shared);
  cache.count = sums(0);
  cache.mean = sums.tail(features()) / std::max(cache.count, 1.0);
}

template <real_scalar Scalar, class Method>
void Whitening<Scalar, Method>::backward_group(ConstMatrixRef<Scalar> const& dy, Cache const& cache, Group& group,
                                               MatrixRef<Scalar> dx) const {
  auto& normalized = group.normalized;
  Vector<Scalar>& offset = group.offset;
  offset = gamma.segment(group.begin, group.features);
  normalized.dp.array().colwise() *= offset.array();
  group.deps = detail::find_covariance_gradient(method_, options_.covariance, group);
  double const root = std::sqrt(normalized.trace);
  double const divisor = covariance_divisor(cache.count, options_.covariance);
  group.by_y.noalias() = normalized.p.transpose() * offset.asDiagonal();
  group.by_y *= static_cast<Scalar>(1 / root);
  group.by_x = static_cast<Scalar>(divisor > 0 ? 2 * group.unit() / (divisor * root) : 0) * normalized.ds;
  group.dy_mean = (group_part(cache.dy_sum, group) / std::max(cache.count, 1.0)).template cast<Scalar>();
  offset.setZero();
  offset.noalias() -= group.by_y * group.dy_mean;
  MatrixRef<Scalar> dx_group(dx.middleRows(group.begin, group.features));
  dx_group.colwise() = offset;
  dx_group.noalias() += group.by_y * group_rows(dy, group);
  dx_group.noalias() += group.by_x * group.centered;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
