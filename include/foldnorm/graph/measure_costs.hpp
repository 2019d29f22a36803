// SPDX-License-Identifier: MIT
// foldnorm/graph/measure_costs.hpp -- measures the table of operation_costs.hpp on this machine.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/graph/operation_costs.hpp>
#include <foldnorm/kernels/activation.hpp>
#include <foldnorm/kernels/center.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

struct CostMeasurement {
  std::vector<Index> features{16, 32, 64, 128, 256, 512, 1024, 4096};
  std::vector<Index> tokens{1, 4, 16, 64, 512, 4096};  // 16: a full block of short samples
  double seconds_per_point = 2e-3;  // and operation, about: nine measurements, of which the least counts
};

namespace detail {

// A table's points whose operands or products are larger than this cost what the next smaller point costs a value:
// past the caches only bandwidth counts.
inline constexpr double largest_measured_values = 4 << 20;
inline constexpr double largest_measured_product = 1.2e9;  // multiplications

// Seconds of one call: the least of nine measurements that take about `seconds` together. Other work on a machine only
// ever adds to one.
template <class Call>
double seconds_per_call(double seconds, Call const& call) {
  using Clock = std::chrono::steady_clock;
  auto const time = [&](Index calls) {
    auto const start = Clock::now();
    for (Index i = 0; i < calls; ++i) call();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  time(1);  // brings operands into the cache, and wakes threads
  Index calls = 1;
  for (double taken = time(calls); taken < seconds / 9 && calls < Index{1} << 24; taken = time(calls)) calls *= 4;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 9; ++i) least = std::min(least, time(calls) / static_cast<double>(calls));
  return least;
}

struct CostOperands {
  Matrix<float> x, y;
  Vector<float> gamma, beta;

  CostOperands(Index features, Index tokens)
      : x(Matrix<float>::Random(features, tokens)),
        y(Matrix<float>::Zero(features, tokens)),
        gamma(Vector<float>::Ones(features)),
        beta(Vector<float>::Zero(features)) {}

  double seconds(CostKind kind, double at_least) {
    float const eps = 1e-5F;
    switch (kind) {
      case CostKind::layer_norm:
        return seconds_per_call(at_least, [&] { layer_norm(x, gamma, beta, eps, y); });
      case CostKind::bare_layer_norm:
        return seconds_per_call(at_least, [&] { layer_norm(x, none, none, eps, y); });
      case CostKind::rms_norm:
        return seconds_per_call(at_least, [&] { rms_norm(x, gamma, beta, eps, y); });
      case CostKind::bare_rms_norm:
        return seconds_per_call(at_least, [&] { rms_norm(x, none, none, eps, y); });
      case CostKind::center:
        return seconds_per_call(at_least, [&] { center(x, y, Accuracy::fast); });
      case CostKind::smooth:
        return seconds_per_call(at_least, [&] { activate<float>(ActivationKind::tanh, x, y); });
      default:
        return seconds_per_call(at_least, [&] { y += x; });
    }
  }
};

// Of a network of eight such layers, say: its weights pass through the cache in turn, and one alone would stay.
inline double product_seconds(Index size, Index tokens, double at_least) {
  constexpr Index layers = 8, most_weights = Index{16} << 20;
  std::vector<Matrix<float>> weights;
  do weights.push_back(Matrix<float>::Random(size, size));
  while (static_cast<Index>(weights.size()) < layers &&
         static_cast<Index>(weights.size()) * size * size < most_weights);
  Matrix<float> const x = Matrix<float>::Random(size, tokens);
  Matrix<float> y(size, tokens);
  std::size_t layer = 0;
  return seconds_per_call(at_least, [&] {
    y.noalias() = weights[layer] * x;
    layer = (layer + 1) % weights.size();
  });
}

}  // namespace detail

// In float, with as many threads as Eigen uses now; some seven seconds of time at the default points. Other work on the
// machine shows in the numbers. Throws std::invalid_argument where seconds_per_point is not positive and finite, or the
// points are not ascending.
inline OperationCosts measure_costs(CostMeasurement const& points = {}) {
  if (!(points.seconds_per_point > 0) || !std::isfinite(points.seconds_per_point)) {
    detail::raise<std::invalid_argument>("measure_costs: points: seconds_per_point must be positive and finite");
  }
  OperationCosts costs(points.features, points.tokens);
  detail::product_seconds(256, 256, 0.2);  // for nothing: a core that has idled takes a while to reach its clock
  for (std::size_t row = 0; row < points.features.size(); ++row) {
    for (std::size_t column = 0; column < points.tokens.size(); ++column) {
      Index const features = points.features[row], tokens = points.tokens[column];
      double const values = static_cast<double>(features) * static_cast<double>(tokens);
      double const multiplications = values * static_cast<double>(features);
      auto const measure = [&](CostKind kind) {
        return kind == CostKind::product
                   ? detail::product_seconds(features, tokens, points.seconds_per_point) / multiplications
                   : detail::CostOperands(features, tokens).seconds(kind, points.seconds_per_point) / values;
      };
      for (std::size_t k = 0; k < cost_kinds; ++k) {
        CostKind const kind = static_cast<CostKind>(k);
        bool const too_large = kind == CostKind::product ? multiplications > detail::largest_measured_product
                                                         : values > detail::largest_measured_values;
        Matrix<double>& table = costs.table(kind);
        Index const r = static_cast<Index>(row), c = static_cast<Index>(column);
        table(r, c) = too_large && c > 0 ? table(r, c - 1) : measure(kind);
      }
    }
  }
  return costs;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
