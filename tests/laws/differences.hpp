// SPDX-License-Identifier: MIT
// tests/laws/differences.hpp -- derivatives of a forward by differences, in double.
#pragma once

#include <foldnorm/core/types.hpp>

namespace laws {

// Richardson extrapolation of central differences: error about h^4 f^(5) / 30 + u |f| / h. With h = 1e-3, f and its
// derivatives of order 1 to 100 on N(0, 1) samples: 1e-11 at worst.
constexpr double step = 1e-3;
constexpr double difference_tolerance = 1e-10;

template <class Function>
double derivative(Function f) {
  auto const central = [&](double h) { return (f(h) - f(-h)) / (2 * h); };
  return (4 * central(step / 2) - central(step)) / 3;
}

// The derivative of loss() with respect to `value`, which it depends on; the value is moved and put back.
template <class Loss>
double partial(double& value, Loss loss) {
  double const before = value;
  double const result = derivative([&](double h) {
    value = before + h;
    return loss();
  });
  value = before;
  return result;
}

inline double dot(foldnorm::Matrix<double> const& a, foldnorm::Matrix<double> const& b) {
  return a.cwiseProduct(b).sum();
}

}  // namespace laws
