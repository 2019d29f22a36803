// SPDX-License-Identifier: MIT
// foldnorm/constructions/units.hpp -- the hidden units that approximators are built of, and how much a soft step costs.
//
//   a step unit shows s(u) = sigma(u / r), odd, rising from -1 to 1:      PLN, PLS    z / sqrt(1 + z^2), r = 0: sign(u)
//                                                                         tanh        tanh(z)
//                                                                         sigmoid     2 / (1 + exp(-z)) - 1
//
// A staircase of cells of width h, its steps softened to r = s h, is within L h e(s) of an L-Lipschitz function, with
//
//   e(s) = 1/2 + sum over k >= 1 of (1 - sigma(k / s))                                         e(0) = 1/2: hard steps
//
// Derived for this library (the weights of the centres are 1 at most and sum to 1; the worst point is a cell's edge).
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>

#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace foldnorm::inline FOLDNORM_ABI {

// The last three are what the paper compares normalization with. relu has no steps: it interpolates.
enum class UnitKind { parallel_layer_norm, parallel_layer_scaling, tanh, sigmoid, relu };

enum class StepMode { soft, hard };

struct UnitOptions {
  UnitKind kind = UnitKind::parallel_layer_norm;
  StepMode mode = StepMode::soft;  // hard, sign(u): norms only. It has no gradient, and eps must be 0
  Index norm_size = 2;             // features per group of a norm, zeros where a step needs fewer; the others have 1
  double softness = 0.1;           // r in cells, above 0, up to max_softness
  std::optional<double> eps = {};  // of a norm; without a value 0 for hard, 1e-5 for soft steps
  Index max_neurons = Index{1} << 24;  // more are refused: memory ends before patience does
};

// The classical sign: one neuron that shows x / |x|, which is scaling in groups of one.
inline UnitOptions sign_units() {
  return {.kind = UnitKind::parallel_layer_scaling, .mode = StepMode::hard, .norm_size = 1};
}

// Beyond, nobody has looked whether a cell's edge still is the worst point (and a step four cells wide is none).
inline constexpr double max_softness = 4;

constexpr bool is_norm(UnitKind kind) {
  return kind == UnitKind::parallel_layer_norm || kind == UnitKind::parallel_layer_scaling;
}

constexpr std::string_view to_string(UnitKind kind) {
  switch (kind) {
    case UnitKind::parallel_layer_norm:
      return "parallel_layer_norm";
    case UnitKind::parallel_layer_scaling:
      return "parallel_layer_scaling";
    case UnitKind::tanh:
      return "tanh";
    case UnitKind::sigmoid:
      return "sigmoid";
    default:
      return "relu";
  }
}

// Neurons of one unit.
constexpr Index unit_size(UnitOptions const& options) { return is_norm(options.kind) ? options.norm_size : 1; }

inline double unit_eps(UnitOptions const& options) {
  return options.eps.value_or(options.mode == StepMode::hard ? 0 : 1e-5);
}

// Throws std::invalid_argument, in the name of `function`, for options out of range or that contradict each other: a
// centered group of 1, hard steps of units that have none or with eps > 0, a soft step of the smallest group without
// eps (its step is always hard).
inline void check_unit_options(UnitOptions const& options, char const* function) {
  auto const refuse = [&](std::string const& fault) {
    detail::raise<std::invalid_argument>(std::string(function) + ": " + std::string(to_string(options.kind)) + ": " +
                                         fault);
  };
  if (options.max_neurons < 1) refuse("max_neurons is " + std::to_string(options.max_neurons));
  if (options.kind == UnitKind::relu) return;
  bool const hard = options.mode == StepMode::hard;
  if (!hard && !(options.softness > 0 && options.softness <= max_softness)) {
    refuse("softness is " + std::to_string(options.softness) + ", expected above 0, up to 4");
  }
  if (!is_norm(options.kind)) {
    if (hard) refuse("has no hard steps");
    return;
  }
  Index const smallest = options.kind == UnitKind::parallel_layer_norm ? 2 : 1;
  if (options.norm_size < smallest) {
    refuse("norm_size is " + std::to_string(options.norm_size) + ", expected " + std::to_string(smallest) + " or more");
  }
  double const eps = unit_eps(options);
  check_epsilon(eps, function);
  if (hard && eps > 0) refuse("eps is " + std::to_string(eps) + ", and hard steps need 0");
  if (!hard && eps == 0 && options.norm_size == smallest) {
    refuse("soft steps in groups of " + std::to_string(smallest) + " need eps > 0");
  }
}

namespace detail {

// 1 - sigma(z) for z > 0, without cancellation.
inline double rest_of_step(UnitKind kind, double z) {
  if (kind == UnitKind::tanh) return 2 / (std::exp(2 * z) + 1);
  if (kind == UnitKind::sigmoid) return 2 / (std::exp(z) + 1);
  double const q = std::hypot(z, 1);
  return 1 / (q * (q + z));
}

}  // namespace detail

// e(s) of soft steps, for 0 < s <= max_softness; never below the true value but for rounding, and above it by less than
// 1e-10. Throws std::invalid_argument for another s, and for relu.
inline double soft_step_error(UnitKind kind, double softness) {
  if (kind == UnitKind::relu) detail::throw_invalid("soft_step_error: kind", " is relu, which has no steps");
  check_unit_options({.kind = kind, .softness = softness}, "soft_step_error");
  constexpr int terms = 2000;
  double sum = 0;
  // From the smallest. The terms are convex in k, so that the integral from the last midpoint is at least what is left
  // of the norms' slow series, and more by at most s^2 / (24 terms^3). What is left of the others underflows.
  if (is_norm(kind)) {
    double const z = (terms + 0.5) / softness;
    sum = softness / (z + std::hypot(z, 1));
  }
  for (int k = terms; k >= 1; --k) sum += detail::rest_of_step(kind, k / softness);
  return 0.5 + sum;
}

// The bound on |f - network| of a construction with these units, in units of L h.
inline double error_per_cell(UnitOptions const& options) {
  bool const exact = options.kind == UnitKind::relu || options.mode == StepMode::hard;
  return exact ? 0.5 : soft_step_error(options.kind, options.softness);
}

}  // namespace foldnorm::inline FOLDNORM_ABI
