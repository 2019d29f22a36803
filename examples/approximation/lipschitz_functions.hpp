// SPDX-License-Identifier: MIT
// approximation/lipschitz_functions.hpp -- six functions on [0,1] with Lipschitz constant L, and how far a network is
// from a function. Shared by the example and the tests.
#pragma once

#include <foldnorm/constructions/approximate.hpp>

#include "../matrix_difference.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numbers>
#include <random>
#include <string>
#include <vector>

namespace foldnorm::approximation {

struct Target {
  std::string name;
  std::function<double(double)> f;
};

// 1000 steps of slope +-L, linear between.
inline std::function<double(double)> random_walk(double lipschitz, std::uint64_t seed) {
  constexpr Index steps = 1000;
  std::mt19937_64 random(seed);
  std::vector<double> at(steps + 1);
  for (std::size_t k = 1; k < at.size(); ++k) at[k] = at[k - 1] + (random() & 1 ? lipschitz : -lipschitz) / steps;
  return [at](double x) {
    double const position = std::clamp(x, 0.0, 1.0) * steps;
    auto const k = std::min(static_cast<std::size_t>(position), at.size() - 2);
    return at[k] + (position - static_cast<double>(k)) * (at[k + 1] - at[k]);
  };
}

inline std::vector<Target> lipschitz_functions(double l) {
  return {
      {"linear", [l](double x) { return l * x; }},
      {"sine", [l](double x) { return l * std::sin(6 * std::numbers::pi * x) / (6 * std::numbers::pi); }},
      {"zigzag",
       [l](double x) {
         double const tooth = std::fmod(7 * x, 2);  // up and down, seven edges in all
         return l * std::min(tooth, 2 - tooth) / 7;
       }},
      {"kink", [l](double x) { return l * std::abs(x - 0.3); }},
      {"random walk", random_walk(l, 1)},
      {"arctangent", [l](double x) { return l / 20 * std::atan(20 * (x - 0.6)); }},
  };
}

// Where to look: an even grid over the interval, every cell's edge, and both sides of it.
inline Eigen::RowVectorXd points_of(LipschitzInterval const& interval, Index cells, Index grid = 20'002) {
  std::vector<double> points;
  double const length = interval.length();
  for (Index i = 0; i < grid; ++i) {
    points.push_back(interval.begin + length * (static_cast<double>(i) / static_cast<double>(grid - 1)));
  }
  for (Index k = 1; k < cells; ++k) {
    double const t = interval.begin + length * (static_cast<double>(k) / static_cast<double>(cells));
    for (double const beside : {-1e-9 * length, 0.0, 1e-9 * length}) points.push_back(t + beside);
  }
  return Eigen::Map<Eigen::RowVectorXd>(points.data(), static_cast<Index>(points.size()));
}

// Of the network at points (n x m): its output, some columns at a time, because hidden layers are wide.
inline Eigen::RowVectorXd outputs(Sequential<double> const& network, Matrix<double> const& points) {
  constexpr Index at_once = 32;
  Eigen::RowVectorXd y(points.cols());
  for (Index begin = 0; begin < points.cols(); begin += at_once) {
    Index const count = std::min(at_once, points.cols() - begin);
    y.segment(begin, count) = network.forward(points.middleCols(begin, count));
  }
  return y;
}

// The largest |f - network| over the points.
inline double largest_error(Sequential<double> const& network, std::function<double(double)> const& f,
                            Eigen::RowVectorXd const& points) {
  return matrix_difference(outputs(network, points), points.unaryExpr(f));
}

}  // namespace foldnorm::approximation
