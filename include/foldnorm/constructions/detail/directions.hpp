// SPDX-License-Identifier: MIT
// foldnorm/constructions/detail/directions.hpp -- on which line samples of R^n are projected: of some random
// directions the one that leaves the fewest runs, because every run costs a layer.
#pragma once

#include <foldnorm/constructions/detail/runs.hpp>
#include <foldnorm/constructions/detail/soft_fold.hpp>
#include <foldnorm/constructions/detail/varying_features.hpp>
#include <foldnorm/core/random_draws.hpp>
#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <tuple>
#include <vector>

namespace foldnorm::detail {

// For samples n x m: `count` random unit directions of the standardized features (one for n = 1), rounded to the
// network's scalar. Features that do not vary get weight 0.
template <real_scalar Scalar>
std::vector<Projection> random_projections(ConstMatrixRef<Scalar> const& samples, Index count, std::uint64_t seed) {
  Matrix<double> const x = samples.template cast<double>();
  auto const m = static_cast<double>(x.cols());
  Vector<double> const mean = (x / m).rowwise().sum();
  Vector<double> const deviation = (x.colwise() - mean).rowwise().stableNorm() / std::sqrt(m);
  Eigen::Array<bool, Eigen::Dynamic, 1> const varies = varying_features(x) && deviation.array() > 0;
  std::mt19937_64 random(seed);
  std::vector<Projection> projections(static_cast<std::size_t>(x.rows() == 1 ? 1 : count));
  for (Projection& line : projections) {
    line.weight = Vector<double>::NullaryExpr(x.rows(), [&] { return normal_draw(random); });
    if (x.rows() == 1) line.weight(0) = 1;
    line.weight.normalize();
    line.weight = varies.select(line.weight.array() / deviation.array(), 0.0);
    line.weight = line.weight.template cast<Scalar>().template cast<double>();
    line.shift = -line.weight.dot(mean);
  }
  return projections;
}

// Those that keep samples of different bits apart, fewest runs first, and the widest of the smallest gaps among equals.
template <real_scalar Scalar>
std::vector<Projection> rank_projections(ConstMatrixRef<Scalar> const& samples, Bits const& bits,
                                         std::vector<Projection> const& projections) {
  struct Ranked {
    std::size_t runs;
    double gap;
    std::size_t index;
  };
  std::vector<Ranked> ranked;
  Runs runs;
  Matrix<double> const x = samples.template cast<double>();
  Vector<double> points;
  for (std::size_t i = 0; i < projections.size(); ++i) {
    points = x.transpose() * projections[i].weight;
    if (runs.form(points, bits)) ranked.push_back({runs.size(), runs.smallest_gap() / runs.range(), i});
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](Ranked const& a, Ranked const& b) { return a.runs != b.runs ? a.runs < b.runs : a.gap > b.gap; });
  std::vector<Projection> result;
  for (Ranked const& r : ranked) result.push_back(projections[r.index]);
  return result;
}

}  // namespace foldnorm::detail
