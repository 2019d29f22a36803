// SPDX-License-Identifier: MIT
// bench/check.cpp -- the operations in double, as their formulas say, against what a call left in the outputs.
#include "problem.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace bench {
namespace {

using Column = std::vector<double>;

// |result - expected| <= tolerance * max(1, |expected|). Float: sums of 4096 terms that are added one after another
// lose about sqrt(4096) ulps. 16 bits: two roundings of the result, and of gamma * xhat before beta.
double tolerance(Scalar scalar) {
  switch (scalar) {
    case Scalar::f16:
      return 0x1p-8;
    case Scalar::bf16:
      return 0x1p-5;
    default:
      return 1e-4;
  }
}

class Worst {
 public:
  explicit Worst(double unit) : unit_(unit) {}
  void operator()(double result, double expected, double scale = 1) {
    double const error = std::abs(result - expected) / (unit_ * std::max({1.0, scale, std::abs(expected)}));
    worst_ = error <= worst_ ? worst_ : std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
  }
  double value() const { return worst_; }

 private:
  double unit_;
  double worst_ = 0;
};

double mean(double const* values, Index count) {
  double sum = 0;
  for (Index i = 0; i < count; ++i) sum += values[i];
  return sum / static_cast<double>(count);
}

// values -> xhat, in place; returns 1 / deviation.
double normalize(double* values, Index count, bool rms) {
  double const shift = rms ? 0 : mean(values, count);
  double squares = 0;
  for (Index i = 0; i < count; ++i) values[i] -= shift, squares += values[i] * values[i];
  double const rstd = 1 / std::sqrt(squares / static_cast<double>(count) + static_cast<double>(eps));
  for (Index i = 0; i < count; ++i) values[i] *= rstd;
  return rstd;
}

void check_forward(Problem const& p, Worst& worst) {
  bool const rms = is_rms(p.what.operation), add = is_add(p.what.operation);
  Index const group = p.what.operation == Operation::parallel_layer_norm ? group_size : p.n;
  Column xhat(static_cast<std::size_t>(p.n));
  for (Index j = 0; j < p.m; ++j) {
    for (Index i = 0; i < p.n; ++i) {
      double const x = p.x.get(j * p.n + i);
      double const sum = add ? x + static_cast<double>(residual_scale) * p.r.get(j * p.n + i) : x;
      if (add) worst(p.s.get(j * p.n + i), sum);
      xhat[static_cast<std::size_t>(i)] = sum;
    }
    for (Index i = 0; i < p.n; i += group) normalize(&xhat[static_cast<std::size_t>(i)], group, rms);
    for (Index i = 0; i < p.n; ++i) {
      double const gained = p.gamma.get(i) * xhat[static_cast<std::size_t>(i)];
      worst(p.y.get(j * p.n + i), rms ? gained : gained + p.beta.get(i), std::abs(gained));
    }
  }
}

void check_backward(Problem const& p, Worst& worst) {
  bool const rms = is_rms(p.what.operation);
  auto const size = static_cast<std::size_t>(p.n);
  Column xhat(size), g(size), product(size), dgamma(size, 0), dbeta(size, 0);
  for (Index j = 0; j < p.m; ++j) {
    for (Index i = 0; i < p.n; ++i) xhat[static_cast<std::size_t>(i)] = p.x.get(j * p.n + i);
    double const rstd = normalize(xhat.data(), p.n, rms);
    for (std::size_t i = 0; i < size; ++i) {
      Index const at = static_cast<Index>(i);
      double const dy = p.dy.get(j * p.n + at);
      g[i] = p.gamma.get(at) * dy;
      product[i] = g[i] * xhat[i];
      dgamma[i] += dy * xhat[i];
      dbeta[i] += dy;
    }
    double const mean_g = rms ? 0 : mean(g.data(), p.n), mean_product = mean(product.data(), p.n);
    for (std::size_t i = 0; i < size; ++i)
      worst(p.dx.get(j * p.n + static_cast<Index>(i)), rstd * (g[i] - mean_g - xhat[i] * mean_product));
  }
  // A sum of m normal numbers is about sqrt(m), and m float additions lose in proportion to it.
  double const scale = std::sqrt(static_cast<double>(p.m));
  for (std::size_t i = 0; i < size; ++i) {
    worst(p.dgamma.get(static_cast<Index>(i)), dgamma[i], scale);
    if (!rms) worst(p.dbeta.get(static_cast<Index>(i)), dbeta[i], scale);
  }
}

}  // namespace

double error(Problem const& problem) {
  Worst worst(tolerance(problem.what.scalar));
  if (is_backward(problem.what.operation))
    check_backward(problem, worst);
  else
    check_forward(problem, worst);
  return worst.value();
}

}  // namespace bench
