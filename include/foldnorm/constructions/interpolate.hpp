// SPDX-License-Identifier: MIT
// foldnorm/constructions/interpolate.hpp -- m samples with any values, memorized by at most m - 1 hard groups.
//
//   a direction a that tells samples apart:  a . x_1 < ... < a . x_m,  thresholds halfway between neighbours,
//   y(x) = (v_1 + v_m) / 2 + sum over k of (v_{k+1} - v_k) / 2 * sign(a . x - t_k)
//
// Derived for this library. Neighbours with the same value need no group between them.
#pragma once

#include <foldnorm/constructions/detail/unit_layer.hpp>
#include <foldnorm/constructions/detail/varying_features.hpp>
#include <foldnorm/constructions/units.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/random_draws.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/layers/sequential.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

struct InterpolationOptions {
  UnitOptions units = {.mode = StepMode::hard};  // of hard steps: PLN-2, or sign_units()
  std::uint64_t seed = 1;                        // of the directions tried
  int directions = 32;                           // 1 or more; the one with the widest gap is taken (n > 1)
};

struct Interpolant {
  Sequential<double> network = {};  // n -> outputs
  Vector<double> direction = {};    // a
  double gap = 0;                   // between projections whose values differ; infinite if none do
  Index groups = 0;                 // hidden units: how often the value changes along a, at most m - 1
  Index width = 0;                  // hidden neurons
  double largest_error = 0;         // of the network on the samples, by running it: rounding of the readout alone
};

namespace detail {

// Samples along a direction, and the narrowest gap in which the value changes.
struct SampleLine {
  Vector<double> direction;
  Vector<double> position;   // of every sample
  std::vector<Index> order;  // samples by position
  double gap = std::numeric_limits<double>::infinity();
  double resolution = 0;      // projections that differ by less may change sides by rounding
  Index left = 0, right = 0;  // the samples beside that gap

  SampleLine() = default;
  SampleLine(ConstMatrixRef<double> const& samples, ConstMatrixRef<double> const& values, Vector<double> a)
      : direction(std::move(a)), position(samples.transpose() * direction) {
    order.resize(static_cast<std::size_t>(samples.cols()));
    std::iota(order.begin(), order.end(), Index{0});
    std::sort(order.begin(), order.end(), [&](Index i, Index j) { return position(i) < position(j); });
    for (std::size_t k = 1; k < order.size(); ++k) {
      if (values.col(order[k]) == values.col(order[k - 1])) continue;
      if (double const width = position(order[k]) - position(order[k - 1]); width < gap) {
        gap = width, left = order[k - 1], right = order[k];
      }
    }
    // A sum of n products and the threshold, in either of two orders, each off by (n + 1) half ulps of its terms.
    double const terms = (samples.cwiseAbs().transpose() * direction.cwiseAbs()).maxCoeff();
    resolution = 4 * static_cast<double>(samples.rows() + 1) *
                 std::max(std::numeric_limits<double>::epsilon() * terms, std::numeric_limits<double>::min());
  }
};

inline SampleLine widest_line(ConstMatrixRef<double> const& samples, ConstMatrixRef<double> const& values,
                              InterpolationOptions const& options) {
  if (samples.rows() == 1) return {samples, values, Vector<double>::Ones(1)};
  Eigen::Array<bool, Eigen::Dynamic, 1> const varies = varying_features(samples);
  SampleLine best;
  best.gap = -1;
  std::mt19937_64 random(options.seed);
  for (int attempt = 0; attempt < options.directions; ++attempt) {
    Vector<double> direction(samples.rows());
    for (double& a : direction) a = normal_draw(random);
    direction = varies.select(direction, 0).eval();
    SampleLine next(samples, values, direction.normalized());
    if (next.gap > best.gap) best = std::move(next);
  }
  return best;
}

// Sums and differences of these stay within double.
inline constexpr double largest_interpolated = 1e300;

inline void check_interpolated(ConstMatrixRef<double> const& entries, char const* what) {
  if (!entries.allFinite()) throw_invalid(what, " are not all finite");
  if (entries.cwiseAbs().maxCoeff() > largest_interpolated) throw_invalid(what, " are not all within 1e300");
}

}  // namespace detail

// samples: n x m, values: outputs x m, m >= 1. A network through all of them; m log m and a width of up to 2 (m - 1).
// Throws shape_error, and std::invalid_argument for entries that are not finite or beyond 1e300, for soft units, and
// for samples with different values that are equal, or so close that rounding cannot tell them apart along any
// direction tried.
inline Interpolant interpolate(ConstMatrixRef<double> const& samples, ConstMatrixRef<double> const& values,
                               InterpolationOptions const& options = {}) {
  check_size(values.cols(), samples.cols(), "interpolate: columns of values, a value for every sample");
  if (samples.size() == 0 || values.rows() == 0) detail::throw_invalid("interpolate: samples, values", " are empty");
  detail::check_interpolated(samples, "interpolate: samples");
  detail::check_interpolated(values, "interpolate: values");
  if (options.directions < 1) detail::throw_invalid("interpolate: directions", " is less than 1");
  check_unit_options(options.units, "interpolate");
  if (!is_norm(options.units.kind) || options.units.mode != StepMode::hard) {
    detail::throw_invalid("interpolate: units", " have no hard steps");
  }
  detail::SampleLine const along = detail::widest_line(samples, values, options);
  if (!(along.gap > along.resolution)) {
    bool const same = samples.col(along.left) == samples.col(along.right);
    detail::raise<std::invalid_argument>("interpolate: samples " + std::to_string(along.left) + " and " +
                                         std::to_string(along.right) + " have different values and are " +
                                         (same ? "equal" : "too close to be told apart"));
  }
  // The pieces: runs of one value.
  std::vector<Index> first{along.order[0]};  // sample of each piece
  std::vector<double> thresholds;
  for (std::size_t k = 1; k < along.order.size(); ++k) {
    Index const i = along.order[k - 1], j = along.order[k];
    if (values.col(i) == values.col(j)) continue;
    thresholds.push_back(along.position(i) + (along.position(j) - along.position(i)) / 2);
    first.push_back(j);
  }
  Index const groups = static_cast<Index>(thresholds.size());
  if (groups > options.units.max_neurons / unit_size(options.units)) {
    detail::throw_invalid("interpolate: samples", " need more than max_neurons");
  }
  Matrix<double> pieces(values.rows(), groups + 1);
  for (Index k = 0; k <= groups; ++k) pieces.col(k) = values.col(first[static_cast<std::size_t>(k)]);
  Interpolant result{
      .network = detail::staircase(options.units, along.direction,
                                   Eigen::Map<Vector<double> const>(thresholds.data(), groups), 1, pieces),
      .direction = along.direction,
      .gap = along.gap,
      .groups = groups,
      .width = groups * unit_size(options.units)};
  result.largest_error = (result.network.forward(samples) - values).cwiseAbs().maxCoeff();
  return result;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
