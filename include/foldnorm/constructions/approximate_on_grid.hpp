// SPDX-License-Identifier: MIT
// foldnorm/constructions/approximate_on_grid.hpp -- universal approximation on [0,1]^n by two hidden layers of PLN-2: a
// cell of a grid is a conjunction of signs, and a sign of a sum of signs.
//
//   layer 1, n (K - 1) groups:   s_{i,k} = sign(x_i - k/K),  0 < k < K;   s_{i,0} = 1,  s_{i,K} = -1
//   layer 2, K^n groups:         sign(z),   z = sum over i of (s_{i,k_i - 1} - s_{i,k_i}) / 2 - (n - 1/2)
//   output:                      sum over cells of f(centre) (1 + sign z) / 2
//
// z is 1/2 in one cell and -1/2 or less in all others, if no s is 0. So the groups of layer 1 receive (x_i - k/K, -d),
// d far below the spacing of doubles: on a grid plane they show +1, elsewhere the sign. Derived for this library.
#pragma once

#include <foldnorm/constructions/detail/unit_layer.hpp>
#include <foldnorm/constructions/required_groups.hpp>
#include <foldnorm/constructions/units.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/layers/linear.hpp>
#include <foldnorm/layers/sequential.hpp>

#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>

namespace foldnorm::inline FOLDNORM_ABI {

// |f(x) - f(y)| <= lipschitz * distance(x, y).
enum class Distance { euclidean, maximum };

struct LipschitzCube {
  Index dimensions = 2;  // n
  double lipschitz = 1;
  Distance distance = Distance::euclidean;
};

struct GridApproximant {
  Sequential<double> network = {};  // n -> 1
  double bound = 0;                 // on |f - network| over the cube, at most epsilon
  Index cells = 1;                  // K, of each axis
  Index planes = 0;                 // groups of the first hidden layer, n (K - 1)
  Index boxes = 0;                  // groups of the second, K^n
  Index width = 0;                  // hidden neurons of both
};

// A network within epsilon of f everywhere on [0,1]^n: K = ceil(L sqrt(n) / (2 epsilon)), for the maximum's distance
// ceil(L / (2 epsilon)). Outside it goes on with the value of the nearest cell. One cell: a constant, as one Linear.
//
// K^n groups, with 4 n (K - 1) weights each, are a demonstration of principle, for n up to 3 or so: more than
// max_weights of them (1 GiB) are refused. Like all hard steps it has no gradient. f is called K^n times.
// Throws std::invalid_argument for arguments out of range and values of f that are not finite.
inline GridApproximant approximate_on_grid(std::function<double(Vector<double> const&)> const& f,
                                           LipschitzCube const& cube, double epsilon,
                                           Index max_weights = Index{1} << 27) {
  char const* const function = "approximate_on_grid";
  Index const n = cube.dimensions;
  if (n < 1) detail::raise<std::invalid_argument>(std::string(function) + ": dimensions is " + std::to_string(n));
  detail::check_interval({.lipschitz = cube.lipschitz}, function);
  detail::check_tolerance(epsilon, function);
  double const axes = static_cast<double>(n);
  double const diameter = cube.distance == Distance::euclidean ? std::sqrt(axes) : 1;  // of the cube, and K of a cell
  double const cells = detail::cell_count(cube.lipschitz * diameter / (2 * epsilon));
  double const weights = 4 * std::pow(cells, axes) * axes * (cells - 1);
  if (!(weights <= static_cast<double>(max_weights))) {
    detail::raise<std::invalid_argument>(std::string(function) + ": " + std::to_string(cells) + " cells on each of " +
                                         std::to_string(n) + " axes take " + std::to_string(weights) + " weights, " +
                                         std::to_string(max_weights) + " are allowed (max_weights)");
  }
  Index const k = static_cast<Index>(cells);
  Index boxes = 1;
  for (Index i = 0; i < n; ++i) boxes *= k;
  GridApproximant result{.bound = cube.lipschitz * diameter / (2 * cells), .cells = k};

  // Box b has digits k_i - 1 in base K, the first axis fastest.
  Matrix<double> values(1, boxes);
  for (Index b = 0; b < boxes; ++b) {
    Vector<double> centre(n);
    for (Index i = 0, rest = b; i < n; ++i, rest /= k) centre(i) = (static_cast<double>(rest % k) + 0.5) / cells;
    values(0, b) = f(centre);
    if (!std::isfinite(values(0, b))) {
      detail::raise<std::invalid_argument>(std::string(function) + ": f is " + std::to_string(values(0, b)) +
                                           " at the centre of box " + std::to_string(b));
    }
  }
  if (k == 1) {
    result.network.append(Linear<double>(Matrix<double>::Zero(1, n), values.col(0)));
    return result;
  }
  result.planes = n * (k - 1);
  result.boxes = boxes;
  result.width = 2 * (result.planes + boxes);

  UnitOptions const options{.mode = StepMode::hard};
  detail::UnitShape const shape = detail::unit_shape(options);
  detail::StepUnits planes{Matrix<double>::Zero(n, result.planes), Vector<double>(result.planes),
                           Vector<double>::Ones(result.planes)};
  for (Index i = 0; i < n; ++i) {
    for (Index t = 1; t < k; ++t) {
      planes.directions(i, i * (k - 1) + t - 1) = 1;
      planes.thresholds(i * (k - 1) + t - 1) = static_cast<double>(t) / cells;
    }
  }
  detail::UnitShape upwards = shape;  // sign(0) = 1
  upwards.slope << 1, 0;
  upwards.offset << 0, -0x1p-200;  // its square is a double still
  detail::append_units(result.network, options, upwards, planes);

  detail::StepUnits conjunctions{Matrix<double>::Zero(2 * result.planes, boxes),
                                 Vector<double>::Constant(boxes, axes - 0.5), Vector<double>::Ones(boxes)};
  for (Index b = 0; b < boxes; ++b) {
    for (Index i = 0, rest = b; i < n; ++i, rest /= k) {
      // Adds weight * s_{i,t}: planes at the cube's ends are constants.
      auto const add = [&](Index t, double weight) {
        if (t == 0 || t == k) {
          conjunctions.thresholds(b) -= t == 0 ? weight : -weight;
        } else {
          conjunctions.directions.col(b).segment(2 * (i * (k - 1) + t - 1), 2) += weight * shape.read_step;
        }
      };
      add(rest % k, 0.5);
      add(rest % k + 1, -0.5);
    }
  }
  detail::append_units(result.network, options, shape, conjunctions);
  detail::append_readout(result.network, shape, values / 2, values.rowwise().sum() / 2);
  return result;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
