// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/normalize_backward.hpp -- the backward of both norms: two sums over a sample, then one pass.
//
//   g  = gamma * dy
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat))     LayerNorm;  RMSNorm: without mean(g)
//   dgamma = sum over samples of dy * xhat,   dbeta = sum over samples of dy
//
// Everything runs in double and is rounded once, in both modes: dy has no scale of its own that a float pass could rely
// on. dgamma and dbeta are summed sample by sample, so their order is fixed by the shape.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/detail/moments.hpp>
#include <foldnorm/kernels/detail/normalize.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <variant>
#include <vector>

namespace foldnorm::detail {

// One running sum per feature, over samples; for double storage with a second word that collects the errors.
template <real_scalar Scalar>
class FeatureSums {
 public:
  FeatureSums(bool wanted, Index n)
      : sum_(wanted ? static_cast<std::size_t>(n) : 0), error_(std::same_as<Scalar, double> ? sum_.size() : 0) {}

  // Adds term(i) to the sum of every feature i.
  template <class Term>
  void add(Term term) {
    for (std::size_t i = 0; i < sum_.size(); ++i) {
      double const value = term(static_cast<Index>(i));
      if constexpr (std::same_as<Scalar, float>) {
        sum_[i] += value;
      } else {
        TwoWords const next = two_sum(sum_[i], value);
        sum_[i] = next.high;
        error_[i] += next.low;
      }
    }
  }

  void write(Scalar* to) const {
    for (std::size_t i = 0; i < sum_.size(); ++i) {
      bool const corrected = std::same_as<Scalar, double> && std::isfinite(sum_[i]);  // after inf the error is NaN
      to[i] = static_cast<Scalar>(corrected ? sum_[i] + error_[i] : sum_[i]);
    }
  }

 private:
  std::vector<double> sum_;
  std::vector<double> error_;
};

// dx = residual * rstd, where the residual was computed from dy * dy_scale and rstd = inverse_deviation * scale may be
// out of range on its own: the powers of two are split into two factors that are applied one after the other.
struct OutputFactors {
  double first;
  double second;
  OutputFactors(SampleStatistics const& s, double dy_scale) {
    int const exponent = std::ilogb(s.scale) - std::ilogb(dy_scale);
    first = s.inverse_deviation * std::ldexp(1.0, exponent / 2);
    second = std::ldexp(1.0, exponent - exponent / 2);
  }
};

template <class Policy, real_scalar Scalar, class Gain>
void sample_backward(Scalar const* dy, Scalar const* x, Index n, SampleStatistics const& s, Gain gain, Scalar* dx) {
  // A rescued sample has its terms where dy has its own size: beside a deviation of 1e-310 even a dy of 1e-310 counts.
  double const dy_scale = s.scale == 1 ? 1 : rescue_scale(largest_magnitude(dy, n), 0);
  auto const g = [&](Index i) { return gain(scaled(dy[i], dy_scale), i); };
  auto const xhat = [&](Index i) { return deviation(x[i], s) * s.inverse_deviation; };
  Sum<Scalar> sum_g;
  Sum<Scalar> sum_g_xhat;
  if constexpr (Policy::subtracts_mean) for_each_lane(n, [&](Index i, int lane) { sum_g.add(lane, g(i)); });
  for_each_lane(n, [&](Index i, int lane) { sum_g_xhat.add(lane, g(i) * xhat(i)); });
  auto const count = static_cast<double>(n);
  double const mean_g = sum_g.total().high / count;
  double const mean_g_xhat = sum_g_xhat.total().high / count;
  OutputFactors const factors(s, dy_scale);
  for (Index i = 0; i < n; ++i) {
    double const residual = (g(i) - mean_g) - xhat(i) * mean_g_xhat;
    dx[i] = static_cast<Scalar>((residual * factors.first) * factors.second);
  }
}

template <class Policy, real_scalar Scalar>
void normalize_backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x,
                        OptionalVector<Scalar> const& gamma, NormStatistics<Scalar> const& statistics,
                        MatrixRef<Scalar>& dx, OptionalVectorRef<Scalar>& dgamma, OptionalVectorRef<Scalar>& dbeta,
                        char const* function) {
  check_same_shape(dy, x, {function, "dy, x"});
  check_same_shape(dy, dx, {function, "dy, dx"});
  check_optional_size(gamma, x.rows(), {function, "gamma, features of x"});
  check_optional_size(dgamma, x.rows(), {function, "dgamma, features of x"});
  check_optional_size(dbeta, x.rows(), {function, "dbeta, features of x"});
  check_size(statistics.features, x.rows(), {function, "features of statistics, of x"});
  check_size(static_cast<Index>(statistics.samples.size()), x.cols(), {function, "samples of statistics, of x"});
  check_no_partial_overlap(dy, dx, {function, "dy, dx"});
  check_no_partial_overlap(x, dx, {function, "x, dx"});
  check_vector_apart(gamma, dx, {function, "gamma, dx"});
  check_vector_apart(dgamma, dx, {function, "dgamma, dx"});
  check_vector_apart(dbeta, dx, {function, "dbeta, dx"});
  check_vectors_apart(dgamma, dbeta, {function, "dgamma, dbeta"});

  Index const n = x.rows();
  FeatureSums<Scalar> sum_dgamma(dgamma.present(), n);
  FeatureSums<Scalar> sum_dbeta(dbeta.present(), n);
  auto const every_sample = [&](auto gain) {
    for (Index j = 0; j < x.cols() && n > 0; ++j) {
      SampleStatistics const& s = statistics.samples[static_cast<std::size_t>(j)];
      Scalar const* const dy_j = dy.data() + j * dy.outerStride();
      Scalar const* const x_j = x.data() + j * x.outerStride();
      sum_dgamma.add(
          [&](Index i) { return static_cast<double>(dy_j[i]) * (deviation(x_j[i], s) * s.inverse_deviation); });
      sum_dbeta.add([&](Index i) { return static_cast<double>(dy_j[i]); });
      sample_backward<Policy>(dy_j, x_j, n, s, gain, dx.data() + j * dx.outerStride());
    }
  };
  std::visit(every_sample, present_or_unchanged<Times>(gamma));
  sum_dgamma.write(dgamma.data());
  sum_dbeta.write(dbeta.data());
}

}  // namespace foldnorm::detail
