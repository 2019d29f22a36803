// SPDX-License-Identifier: MIT
// foldnorm/constructions/fit_random_groups.hpp -- least squares on random groups of parallel layer norm: a network for
// real data of several dimensions, with its hidden layer drawn and its output layer solved for.
//
//   u = a . (x - mean) / deviation - t,   |a| = 1, t at a sample, r log-uniform:   a group shows two features,
//   sigma(u / r) = (u / r) / sqrt(1 + (u / r)^2)   and   the bump 1 / sqrt(1 + (u / r)^2)
//
//   minimize  mean over samples of |W features + b - y|^2  +  ridge |W|^2
//
// Sums of such features are dense in the continuous functions on a compact set (Ni et al., arXiv:2505.13142, and
// sums of ridge functions); the draw and the fit are this library's own.
#pragma once

#include <foldnorm/constructions/detail/unit_layer.hpp>
#include <foldnorm/constructions/detail/varying_features.hpp>
#include <foldnorm/constructions/units.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/random_draws.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/layers/sequential.hpp>

#include <Eigen/QR>

#include <cmath>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

struct RandomGroupsOptions {
  Index groups = 128;   // 1 or more; two features each
  Index norm_size = 3;  // features per group, 3 or more: zeros beyond 3
  double eps = 1e-5;    // of the norm
  double ridge = 1e-8;  // > 0; features are within [-1, 1]. Larger for noisy values
  double finest = 0.5;  // r between these, > 0, in standard deviations of a projection
  double coarsest = 5;
};

struct RandomGroupsFit {
  Sequential<double> network;     // n -> outputs: Linear, ParallelLayerNorm, Linear
  Vector<double> training_error;  // root mean square over the samples, by output
};

namespace detail {

inline void check_random_groups(RandomGroupsOptions const& options) {
  auto const refuse = [](char const* what) {
    detail::raise<std::invalid_argument>(std::string("fit_random_groups: ") + what);
  };
  if (options.groups < 1) refuse("groups is less than 1");
  if (options.norm_size < 3) refuse("norm_size is less than 3: no room for a radius");
  check_epsilon(options.eps, "fit_random_groups");
  if (!(std::isfinite(options.ridge) && options.ridge > 0)) refuse("ridge is not a finite number > 0");
  if (!(options.finest > 0 && options.finest <= options.coarsest && std::isfinite(options.coarsest))) {
    refuse("radii, expected 0 < finest <= coarsest");
  }
}

// Groups for samples (n x m) as they are: what standardizes them is part of a and t.
inline StepUnits draw_groups(ConstMatrixRef<double> const& samples, RandomGroupsOptions const& options,
                             std::uint64_t seed) {
  Index const n = samples.rows(), m = samples.cols();
  Vector<double> const mean = samples.rowwise().mean();
  Vector<double> deviation = ((samples.colwise() - mean).rowwise().squaredNorm() / static_cast<double>(m)).cwiseSqrt();
  if (!deviation.allFinite()) throw_invalid("fit_random_groups: samples", " are too large to be squared");
  Eigen::Array<bool, Eigen::Dynamic, 1> const varies = varying_features(samples) && deviation.array() > 0;
  deviation = varies.select(deviation, 1).eval();
  std::mt19937_64 random(seed);
  double const finest = std::log(options.finest), range = std::log(options.coarsest) - finest;
  StepUnits units{Matrix<double>(n, options.groups), Vector<double>(options.groups), Vector<double>(options.groups)};
  for (Index g = 0; g < options.groups; ++g) {
    Vector<double> direction(n);
    for (double& a : direction) a = normal_draw(random);
    direction = varies.select(direction, 0).eval();
    auto const sample = static_cast<Index>(index_draw(random, static_cast<std::uint64_t>(m)));
    units.directions.col(g) = direction.normalized().cwiseQuotient(deviation);
    units.thresholds(g) = units.directions.col(g).dot(samples.col(sample));
    units.radii(g) = std::exp(finest + range * unit_draw(random));
  }
  return units;
}

}  // namespace detail

// samples: n x m, values: outputs x m, m >= 1. The same seed gives the same network. Time is that
// of a QR decomposition of (m + F) x F with F = 2 groups features, memory that of several such matrices. Fewer samples
// than features are interpolated up to the ridge: judge on others. Throws shape_error, and std::invalid_argument for
// entries that are not finite and options out of range.
inline RandomGroupsFit fit_random_groups(ConstMatrixRef<double> const& samples, ConstMatrixRef<double> const& values,
                                         std::uint64_t seed, RandomGroupsOptions const& options = {}) {
  check_size(values.cols(), samples.cols(), "fit_random_groups: columns of values, a value for every sample");
  if (samples.size() == 0 || values.rows() == 0) {
    detail::throw_invalid("fit_random_groups: samples, values", " are empty");
  }
  if (!samples.allFinite()) detail::throw_invalid("fit_random_groups: samples", " are not all finite");
  if (!values.allFinite()) detail::throw_invalid("fit_random_groups: values", " are not all finite");
  detail::check_random_groups(options);
  UnitOptions const units{.norm_size = options.norm_size, .eps = options.eps};
  detail::UnitShape const shape = detail::unit_shape(units);
  RandomGroupsFit fit;
  detail::append_units(fit.network, units, shape, detail::draw_groups(samples, options, seed));

  Index const d = options.norm_size, features = 2 * options.groups, m = samples.cols();
  Matrix<double> const hidden = fit.network.forward(samples);
  Matrix<double> system(m + features, features);
  for (Index g = 0; g < options.groups; ++g) {
    system.col(2 * g).head(m).noalias() = hidden.middleRows(d * g, d).transpose() * shape.read_step;
    system.col(2 * g + 1).head(m).noalias() = hidden.middleRows(d * g, d).transpose() * shape.read_bump;
  }
  Eigen::RowVectorXd const mean = system.topRows(m).colwise().mean();
  Vector<double> const value_mean = values.rowwise().mean();
  system.topRows(m).rowwise() -= mean;
  system.bottomRows(features).setZero();
  system.bottomRows(features).diagonal().setConstant(std::sqrt(options.ridge * static_cast<double>(m)));
  Matrix<double> right = Matrix<double>::Zero(m + features, values.rows());
  right.topRows(m) = (values.colwise() - value_mean).transpose();
  // In place: the decomposition overwrites the system.
  Matrix<double> const coefficients = Eigen::HouseholderQR<Eigen::Ref<Matrix<double>>>(system).solve(right);
  Matrix<double> weight(values.rows(), d * options.groups);
  for (Index g = 0; g < options.groups; ++g) {
    weight.middleCols(d * g, d).noalias() = coefficients.row(2 * g).transpose() * shape.read_step.transpose() +
                                            coefficients.row(2 * g + 1).transpose() * shape.read_bump.transpose();
  }
  fit.network.append(Linear<double>(std::move(weight), value_mean - (mean * coefficients).transpose()));
  fit.training_error =
      ((fit.network.forward(samples) - values).rowwise().squaredNorm() / static_cast<double>(m)).cwiseSqrt();
  return fit;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
