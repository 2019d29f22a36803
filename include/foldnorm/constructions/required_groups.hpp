// SPDX-License-Identifier: MIT
// foldnorm/constructions/required_groups.hpp -- how many hidden units approximating every L-Lipschitz function on an
// interval takes, and how many it must take.
//
//   x = L (end - begin) / (2 epsilon)        hard steps: ceil(x) cells, ceil(x) - 1 units and an output bias
//   soft steps: ceil(2 x e(s)) cells         relu: ceil(x) cells, a unit each
//
// Lower bounds, for an error of at most epsilon and any weights: groups of PLN-2 without eps and signs ceil(x) - 1 (f =
// L x needs a piece per 2 epsilon of its range); relu ceil(x) - 2 (a zigzag a little higher than epsilon changes sign
// ceil(x) - 1 times, n units make n + 1 linear pieces). That such a minimum can be known, and compared over
// activations, is a claim of Ni et al., arXiv:2505.13142; these counts and proofs were derived for this library.
#pragma once

#include <foldnorm/constructions/units.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>

namespace foldnorm::inline FOLDNORM_ABI {

// [begin, end], and a Lipschitz constant of the function on it: |f(x) - f(y)| <= lipschitz |x - y|.
struct LipschitzInterval {
  double begin = 0;
  double end = 1;
  double lipschitz = 1;
  double length() const { return end - begin; }
};

struct RequiredGroups {
  Index cells = 1;    // into which approximate() cuts the interval
  Index groups = 0;   // its hidden units, beside an output bias
  Index neurons = 0;  // groups * norm_size
  // No network with an output bias and fewer units is within epsilon of every function. None: not proved (soft units,
  // norms of larger groups).
  std::optional<Index> least_groups = {};
  // N(phi) of the theorem, where proved: the minimum without an output bias for an error strictly below epsilon,
  // floor(x) + 1.
  std::optional<Index> strict_minimum = {};
};

namespace detail {

inline void check_interval(LipschitzInterval const& interval, char const* function) {
  auto const refuse = [&](std::string const& fault) {
    detail::raise<std::invalid_argument>(function + (": " + fault));
  };
  if (!(std::isfinite(interval.begin) && std::isfinite(interval.end) && interval.begin < interval.end &&
        std::isfinite(interval.length()))) {
    refuse("interval from " + std::to_string(interval.begin) + " to " + std::to_string(interval.end) +
           ", expected finite and begin < end");
  }
  if (!(std::isfinite(interval.lipschitz) && interval.lipschitz >= 0)) {
    refuse("lipschitz is " + std::to_string(interval.lipschitz) + ", expected a finite number >= 0");
  }
}

inline void check_tolerance(double epsilon, char const* function) {
  if (!(std::isfinite(epsilon) && epsilon > 0)) {
    detail::raise<std::invalid_argument>(std::string(function) + ": epsilon is " + std::to_string(epsilon) +
                                         ", expected a finite number > 0");
  }
}

// ceil(x), at least 1, where x is rounded: of six roundings (three inputs, three operations), doubled; 1e-12 at least.
inline double cell_count(double x) {
  if (!std::isfinite(x)) return std::numeric_limits<double>::infinity();
  return std::max(1.0, std::ceil(x - std::max(1e-12, 12 * std::numeric_limits<double>::epsilon() * x)));
}

[[noreturn]] inline void refuse_neurons(char const* function, double neurons, Index most) {
  detail::raise<std::invalid_argument>(std::string(function) + ": " + std::to_string(neurons) +
                                       " neurons would be needed, " + std::to_string(most) +
                                       " are allowed (max_neurons)");
}

}  // namespace detail

// Throws std::invalid_argument for an interval, epsilon or options out of range, and if max_neurons is exceeded.
inline RequiredGroups required_groups(LipschitzInterval const& interval, double epsilon,
                                      UnitOptions const& options = {}) {
  detail::check_interval(interval, "required_groups");
  detail::check_tolerance(epsilon, "required_groups");
  check_unit_options(options, "required_groups");
  double const x = interval.lipschitz * interval.length() / (2 * epsilon);
  double const cells = detail::cell_count(2 * error_per_cell(options) * x);
  double const neurons = cells * static_cast<double>(unit_size(options));
  if (!(neurons <= static_cast<double>(options.max_neurons))) {
    detail::refuse_neurons("required_groups", neurons, options.max_neurons);
  }
  bool const relu = options.kind == UnitKind::relu;
  RequiredGroups required{.cells = static_cast<Index>(cells)};
  required.groups = relu && interval.lipschitz > 0 ? required.cells : required.cells - 1;
  required.neurons = required.groups * unit_size(options);
  Index const hard_cells = static_cast<Index>(detail::cell_count(x));
  bool const only_signs = options.norm_size == (options.kind == UnitKind::parallel_layer_norm ? 2 : 1);
  if (relu) {
    required.least_groups = std::max(hard_cells > 1 ? Index{1} : Index{0}, hard_cells - 2);
  } else if (is_norm(options.kind) && options.mode == StepMode::hard && only_signs) {
    required.least_groups = hard_cells - 1;
    required.strict_minimum = static_cast<Index>(std::floor(x + std::max(1e-12, 1e-15 * x))) + 1;
  }
  return required;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
