// SPDX-License-Identifier: MIT
// foldnorm/constructions/approximate.hpp -- universal approximation as a function: any Lipschitz function on an
// interval, as a network of Linear, parallel layer norm (or another unit), Linear, with a guaranteed bound.
//
//   N cells of width h = (end - begin) / N, centres m_k, thresholds t_k between them, v_k = f(m_k):
//   g(x) = (v_1 + v_N) / 2 + sum over k < N of (v_{k+1} - v_k) / 2 * sigma((x - t_k) / (s h)),    |f - g| <= L h e(s)
//
//   relu: g is linear between f's values at N + 1 knots,   g(x) = v_0 + sum of (slope_k - slope_{k-1}) relu(x - t_k)
//
// That networks of linear layers and PLN are universal is the theorem of Ni et al., arXiv:2505.13142; this construction
// and its bounds were derived for this library.
#pragma once

#include <foldnorm/constructions/detail/unit_layer.hpp>
#include <foldnorm/constructions/required_groups.hpp>
#include <foldnorm/constructions/units.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/layers/sequential.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

namespace foldnorm::inline FOLDNORM_ABI {

struct Approximant {
  Sequential<double> network = {};  // 1 -> 1
  double bound = 0;                 // on |f - network| over the interval, at most epsilon: L h e(s)
  Index cells = 1;                  // N
  Index groups = 0;                 // hidden units: N - 1, for relu N
  Index width = 0;                  // hidden neurons
};

namespace detail {

// f at N points from `first` on, `step` cells apart. Throws for values that are not finite, or further apart than L
// allows (by more than a millionth, which is left to the rounding of f).
inline Matrix<double> sample_function(std::function<double(double)> const& f, LipschitzInterval const& interval,
                                      Index cells, double first, Index points) {
  Matrix<double> values(1, points);
  double const n = static_cast<double>(cells), most = interval.lipschitz * (interval.length() / n);
  for (Index k = 0; k < points; ++k) {
    double const x = interval.begin + interval.length() * ((static_cast<double>(k) + first) / n), value = f(x);
    auto const refuse = [&](std::string const& fault) {
      detail::raise<std::invalid_argument>("approximate: f(" + std::to_string(x) + ") is " + std::to_string(value) +
                                           fault);
    };
    if (!std::isfinite(value)) refuse("");
    values(0, k) = value;
    if (k == 0) continue;
    double const slack = 1e-6 * (most + std::abs(value) + std::abs(values(0, k - 1)));
    if (!(std::abs(value - values(0, k - 1)) <= most + slack)) {
      refuse(" and " + std::to_string(values(0, k - 1)) + " a cell before: lipschitz " +
             std::to_string(interval.lipschitz) + " is not a Lipschitz constant of f");
    }
  }
  return values;
}

inline Sequential<double> interpolate_by_relu(Vector<double> const& knots, double h, Matrix<double> const& values) {
  Index const units = knots.size();
  Matrix<double> coefficients = (values.rightCols(units) - values.leftCols(units)) / h;  // slopes, then their changes
  coefficients.rightCols(units - 1) -= Matrix<double>(coefficients.leftCols(units - 1));
  Sequential<double> network;
  network.append(Linear<double>(Matrix<double>::Ones(units, 1), -knots));
  network.append(Activation<double>(units, ActivationKind::relu));
  network.append(Linear<double>(coefficients, values.col(0)));
  return network;
}

}  // namespace detail

// A network within epsilon of f, in exact arithmetic, everywhere on the interval. Rounding adds what x - t_k loses,
// about 1e-16 L max(|begin|, |end|) / softness, and N roundings of the readout, 1e-16 of the range of f each. Outside,
// the network goes on with f's value near the end (relu: with the last slope). One cell only: a constant, as one
// Linear.
//
// f is called N times (relu: N + 1). Throws std::invalid_argument for an interval, epsilon or options out of range, for
// more than max_neurons, for cells that doubles around the interval cannot resolve, and if values of f are not finite
// or contradict the Lipschitz constant; otherwise the bound is as good as that constant is.
inline Approximant approximate(std::function<double(double)> const& f, LipschitzInterval const& interval,
                               double epsilon, UnitOptions const& options = {}) {
  RequiredGroups const required = required_groups(interval, epsilon, options);
  bool const relu = options.kind == UnitKind::relu;
  Index const cells = required.cells;
  double const n = static_cast<double>(cells), h = interval.length() / n;
  bool const soft = !relu && options.mode == StepMode::soft;
  double const largest = std::max(std::abs(interval.begin), std::abs(interval.end));
  double const finest = soft ? options.softness * h : h;
  if (required.groups > 0 && !(finest >= 64 * std::numeric_limits<double>::epsilon() * largest)) {
    detail::raise<std::invalid_argument>("approximate: " + std::to_string(cells) +
                                         " cells of the interval are too narrow for doubles of its size");
  }
  Approximant result{.bound = interval.lipschitz * h * error_per_cell(options),
                     .cells = cells,
                     .groups = required.groups,
                     .width = required.neurons};
  Vector<double> thresholds(required.groups);
  for (Index k = 0; k < thresholds.size(); ++k) {
    thresholds(k) = interval.begin + interval.length() * (static_cast<double>(relu ? k : k + 1) / n);
  }
  if (relu && required.groups > 0) {
    result.network =
        detail::interpolate_by_relu(thresholds, h, detail::sample_function(f, interval, cells, 0, cells + 1));
  } else {
    result.network = detail::staircase(options, Vector<double>::Ones(1), thresholds, soft ? finest : 1,
                                       detail::sample_function(f, interval, cells, 0.5, cells));
  }
  return result;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
