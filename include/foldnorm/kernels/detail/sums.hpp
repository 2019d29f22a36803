// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/sums.hpp -- long sums in double, in an order that depends on the length alone.
//
// Term i goes to partial sum i % 16, and the partial sums are added in a fixed order at the end: the same bits for
// every alignment, stride and position (Eigen's reductions peel up to an aligned address and do not have that), and a
// loop without a carried dependence that a compiler can vectorize. Samples of floats take plain doubles (29 bits to
// spare); samples of doubles take compensated sums (Ogita, Rump & Oishi 2005), as good as twice the precision.
//
// What is a product is added by add_product: of `sum += a * b` a compiler decides anew wherever it compiles it whether
// the product is rounded, and the same sample would have other bits alone than among others.
#pragma once

#include <foldnorm/core/pack.hpp>

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <type_traits>

namespace foldnorm::detail {

// 16 doubles: two AVX-512 or four AVX2 registers per sum, enough to hide an addition's latency of 4 cycles.
inline constexpr int sum_lanes = 16;

// A value in two words: high is the rounded sum of both.
struct TwoWords {
  double high;
  double low;
};

// high + low == a + b exactly (Knuth). Additions only, so contraction to FMA cannot touch it.
inline TwoWords two_sum(double a, double b) {
  double const sum = a + b;
  double const b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

// a * b in two words; without a multiply-add in one rounding low is 0.
inline TwoWords two_product(double a, double b) {
  double const product = a * b;
  return {product, multiply_add(a, b, -product)};
}

// (a.high + a.low) / n in two words.
inline TwoWords divide(TwoWords a, double n) {
  double const high = a.high / n;
  double const remainder = std::fma(-high, n, a.high);
  return {high, (remainder + a.low) / n};
}

template <int lanes>
class PlainSum {
 public:
  void add(int lane, double term) { sum_[static_cast<std::size_t>(lane)] += term; }
  void add_product(int lane, double a, double b) {
    double& sum = sum_[static_cast<std::size_t>(lane)];
    sum = multiply_add(a, b, sum);
  }
  void add_difference(int lane, double a, double b) { add(lane, a - b); }
  TwoWords total() const {
    double sum = sum_[0];
    for (std::size_t lane = 1; lane < lanes; ++lane) sum += sum_[lane];
    return {sum, 0};
  }

 private:
  std::array<double, lanes> sum_{};
};

template <int lanes>
class CompensatedSum {
 public:
  void add(int lane, double term) { accumulate(static_cast<std::size_t>(lane), {term, 0}); }
  void add_product(int lane, double a, double b) { accumulate(static_cast<std::size_t>(lane), two_product(a, b)); }
  // a - b together with its rounding error, which outweighs the last bit of a mean close to an element.
  void add_difference(int lane, double a, double b) { accumulate(static_cast<std::size_t>(lane), two_sum(a, -b)); }
  TwoWords total() const {
    TwoWords sum{sum_[0], 0};
    double error = error_[0];
    for (std::size_t lane = 1; lane < lanes; ++lane) {
      sum = two_sum(sum.high, sum_[lane]);
      error += sum.low + error_[lane];
    }
    // After inf the errors are NaN, and the plain sum says which of the two the result is.
    return std::isfinite(sum.high) ? two_sum(sum.high, error) : TwoWords{sum.high, 0};
  }

 private:
  void accumulate(std::size_t lane, TwoWords term) {
    TwoWords const next = two_sum(sum_[lane], term.high);
    sum_[lane] = next.high;
    error_[lane] += next.low + term.low;
  }
  std::array<double, lanes> sum_{};
  std::array<double, lanes> error_{};
};

template <real_scalar Scalar, int lanes = sum_lanes>
using Sum = std::conditional_t<std::same_as<Scalar, float>, PlainSum<lanes>, CompensatedSum<lanes>>;

// One sum that loses nothing to its length. C: what the terms were computed in.
template <class C>
struct ExactSum {
  double sum = 0, error = 0;

  void add(double term) {
    if constexpr (std::same_as<C, float>) {
      sum += term;
    } else {
      accumulate({term, 0});
    }
  }
  void add_product(double a, double b) {
    if constexpr (std::same_as<C, float>) {
      sum = multiply_add(a, b, sum);
    } else {
      accumulate(two_product(a, b));
    }
  }
  double total() const { return std::isfinite(sum) ? sum + error : sum; }  // after inf the error is NaN

 private:
  void accumulate(TwoWords term) {
    TwoWords const next = two_sum(sum, term.high);
    sum = next.high;
    error += next.low + term.low;
  }
};

// The sum of n terms, each added by add(sum, i, lane). Where no lane would get a second term, one lane gives the same
// bits at half the cost: a norm of three features spends most of its time here.
template <real_scalar Scalar, class Add>
TwoWords sum_terms(Index n, Add add) {
  if (n <= sum_lanes) {
    Sum<Scalar, 1> sum;
    for (Index i = 0; i < n; ++i) add(sum, i, 0);
    return sum.total();
  }
  Sum<Scalar> sum;
  Index first = 0;
  for (; first + sum_lanes <= n; first += sum_lanes) {
    for (int lane = 0; lane < sum_lanes; ++lane) add(sum, first + lane, lane);
  }
  for (int lane = 0; first + lane < n; ++lane) add(sum, first + lane, lane);
  return sum.total();
}

}  // namespace foldnorm::detail
