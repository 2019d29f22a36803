// SPDX-License-Identifier: MIT
// foldnorm/constructions/detail/unit_layer.hpp -- one hidden layer of step units as layers: Linear, then the norm or
// activation; and what the linear layer behind it must do to read the steps.
//
//   u = a . x - t,  z = u / r:   a group receives  kappa (z e + rho c),  e and c orthonormal, and for PLN orthogonal to
//   1 LN and RMS give  sqrt(d) (z e + rho c) / sqrt(z^2 + rho^2 + d eps / kappa^2)  and rho^2 = 1 - d eps / kappa^2
//   read along e / sqrt(d):  sigma(z) = z / sqrt(1 + z^2);   along c / (rho sqrt(d)):  the bump 1 / sqrt(1 + z^2)
//
// Without room for c, rho = 0 and eps alone softens the step. Hard steps: (u, -u) or u alone, whose floating-point sign
// is exact. Derived for this library from the form of LN; see docs/approximation.md.
#pragma once

#include <foldnorm/constructions/units.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/layers/activation.hpp>
#include <foldnorm/layers/linear.hpp>
#include <foldnorm/layers/parallel_layer_norm.hpp>
#include <foldnorm/layers/sequential.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

namespace foldnorm::detail {

// All vectors have unit_size entries.
struct UnitShape {
  Vector<double> slope;  // what the unit receives: slope * z + offset
  Vector<double> offset;
  Vector<double> read_step;  // read_step . output + step_constant = sigma(z)
  double step_constant = 0;
  Vector<double> read_bump;  // read_bump . output = 1 / sqrt(1 + z^2); zeros where the unit has no bump
};

inline UnitShape norm_shape(UnitOptions const& options) {
  bool const centered = options.kind == UnitKind::parallel_layer_norm;
  Index const d = options.norm_size;
  Vector<double> const zeros = Vector<double>::Zero(d);
  UnitShape shape{zeros, zeros, zeros, 0, zeros};
  Vector<double> e = zeros, c = zeros;
  if (centered) {
    e.head(2) << 1, -1;
    if (d >= 3) c.head(3) << 1, 1, -2;
  } else {
    e(0) = 1;
    if (d >= 2) c(1) = 1;
  }
  double const size = static_cast<double>(d), e_norm = e.norm(), c_norm = c.norm();
  shape.read_step = e / std::sqrt(size * e.squaredNorm());  // exactly 1/2 in pairs
  if (options.mode == StepMode::hard) {
    shape.slope = e;
    return shape;
  }
  double const eps = unit_eps(options);
  if (c_norm == 0) {
    shape.slope = e * (std::sqrt(size * eps) / e_norm);
    return shape;
  }
  double const kappa = std::max(1.0, std::sqrt(2 * size * eps));  // then rho^2 >= 1/2
  double const rho = std::sqrt(1 - size * eps / (kappa * kappa));
  shape.slope = e * (kappa / e_norm);
  shape.offset = c * (kappa * rho / c_norm);
  shape.read_bump = c / (c_norm * rho * std::sqrt(size));
  return shape;
}

// Of step units: not relu.
inline UnitShape unit_shape(UnitOptions const& options) {
  if (is_norm(options.kind)) return norm_shape(options);
  Vector<double> const one = Vector<double>::Ones(1), zero = Vector<double>::Zero(1);
  if (options.kind == UnitKind::tanh) return {one, zero, one, 0, zero};
  return {one, zero, 2 * one, -1, zero};
}

// Units u_g = a_g . x - t_g of radius r_g.
struct StepUnits {
  Matrix<double> directions;  // in x units: a_g
  Vector<double> thresholds;  // t_g
  Vector<double> radii;       // r_g; 1 for hard steps
};

inline void append_units(Sequential<double>& network, UnitOptions const& options, UnitShape const& shape,
                         StepUnits const& units) {
  Index const d = unit_size(options), count = units.thresholds.size();
  Matrix<double> weight(d * count, units.directions.rows());
  Vector<double> bias(d * count);
  for (Index g = 0; g < count; ++g) {
    Vector<double> const slope = shape.slope / units.radii(g);
    weight.middleRows(g * d, d).noalias() = slope * units.directions.col(g).transpose();
    bias.segment(g * d, d) = shape.offset - slope * units.thresholds(g);
  }
  network.append(Linear<double>(std::move(weight), std::move(bias)));
  NormOptions const norm{.eps = unit_eps(options)};
  switch (options.kind) {
    case UnitKind::parallel_layer_norm:
      return network.append(ParallelLayerNorm<double>(d * count, d, norm));
    case UnitKind::parallel_layer_scaling:
      return network.append(ParallelLayerScaling<double>(d * count, d, norm));
    case UnitKind::tanh:
      return network.append(Activation<double>(count, ActivationKind::tanh));
    case UnitKind::sigmoid:
      return network.append(Activation<double>(count, ActivationKind::sigmoid));
    case UnitKind::relu:
      return network.append(Activation<double>(count, ActivationKind::relu));
  }
}

// y = constant + coefficients * steps (coefficients: out x units, constant: out), behind append_units.
inline void append_readout(Sequential<double>& network, UnitShape const& shape, Matrix<double> const& coefficients,
                           Vector<double> const& constant) {
  Index const d = shape.read_step.size();
  Matrix<double> weight(coefficients.rows(), d * coefficients.cols());
  for (Index g = 0; g < coefficients.cols(); ++g) {
    weight.middleCols(g * d, d).noalias() = coefficients.col(g) * shape.read_step.transpose();
  }
  network.append(Linear<double>(std::move(weight), constant + shape.step_constant * coefficients.rowwise().sum()));
}

// A staircase along one direction (in): values.col(k) (values: out x steps + 1) between thresholds k - 1 and k, which
// rise. Hard steps take the mean of their neighbours on a threshold. Without steps: the constant, as one Linear.
inline Sequential<double> staircase(UnitOptions const& options, Vector<double> const& direction,
                                    Vector<double> const& thresholds, double radius, Matrix<double> const& values) {
  Index const steps = thresholds.size();
  Sequential<double> network;
  if (steps == 0) {
    network.append(Linear<double>(Matrix<double>::Zero(values.rows(), direction.size()), values.col(0)));
    return network;
  }
  UnitShape const shape = unit_shape(options);
  append_units(network, options, shape,
               {direction.replicate(1, steps), thresholds, Vector<double>::Constant(steps, radius)});
  append_readout(network, shape, (values.rightCols(steps) - values.leftCols(steps)) / 2,
                 (values.col(0) + values.col(steps)) / 2);
  return network;
}

}  // namespace foldnorm::detail
