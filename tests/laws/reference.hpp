// SPDX-License-Identifier: MIT
// tests/laws/reference.hpp -- the norms in long double with compensated sums, and errors in the tiers' measures.
//
//   E_y, nrm, E_dx, E_dgamma, E_dbeta of docs/numerics.md: errors in units of u times the terms that are added. For
//   half and bfloat16, what an error exceeds the storage's own rounding by, in units of float's u.
//
// The mean is held in two long doubles (some 128 bits), because an element next to the mean magnifies its error; all
// else is good to 2^-60, and range is no concern: squares of doubles fit. Needs a long double wider than double.
#pragma once

#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace laws {

using foldnorm::Index;
using foldnorm::Matrix;
using foldnorm::Vector;
using Wide = long double;
static_assert(std::numeric_limits<Wide>::digits >= 64);

struct WideSum {
  Wide high = 0, low = 0;
  void add(Wide term) {
    Wide const sum = high + term;
    Wide const part = sum - high;
    low += (high - (sum - part)) + (term - part);
    high = sum;
  }
  Wide total() const { return high + low; }
};

struct WideMean {
  Wide high = 0, low = 0;
  template <class Column>
  explicit WideMean(Column const& x) {
    WideSum sum;
    for (Index i = 0; i < x.size(); ++i) sum.add(static_cast<Wide>(x[i]));
    auto const n = static_cast<Wide>(x.size());
    high = sum.high / n;
    low = (std::fma(-high, n, sum.high) + sum.low) / n;
  }
};

// xhat (n x m) and 1 / sqrt(moment + eps) (m), from scratch. A sample without spread has xhat = 0.
template <class Scalar>
struct WideNorm {
  Matrix<Wide> xhat;
  Vector<Wide> inverse_deviation;

  WideNorm(Matrix<Scalar> const& x, foldnorm::Compute<Scalar> eps, bool subtracts_mean)
      : xhat(x.template cast<Wide>()), inverse_deviation(x.cols()) {
    for (Index j = 0; j < x.cols(); ++j) {
      if (subtracts_mean) {
        WideMean const mean(x.col(j));
        for (Wide& e : xhat.col(j)) e = (e - mean.high) - mean.low;
      }
      WideSum squares;
      for (Wide e : xhat.col(j)) squares.add(e * e);
      Wide const moment = squares.total() / static_cast<Wide>(x.rows()) + static_cast<Wide>(eps);
      inverse_deviation[j] = moment == 0 ? 0 : 1 / std::sqrt(moment);
      xhat.col(j) *= inverse_deviation[j];
    }
  }
};

// Largest error over an output; infinite where the output is not finite.
class Worst {
 public:
  void see(Wide error, Wide unit) {
    Wide const ratio = std::abs(error) / unit;
    worst_ = std::isfinite(ratio) ? std::max(worst_, static_cast<double>(ratio)) : HUGE_VAL;
  }
  double value() const { return worst_; }

 private:
  double worst_ = 0;
};

// Of the type that a norm over Scalar computes in.
template <class Scalar>
constexpr Wide unit_roundoff = std::numeric_limits<foldnorm::Compute<Scalar>>::epsilon() / 2;

// What a storage type adds to the type that it is computed in: digits, and the distance between its smallest values.
// (Eigen's own limits of these types are functions, and wrong in places.)
template <class T>
struct StorageLimits {
  static constexpr Wide smallest = std::numeric_limits<T>::denorm_min();
};
template <>
struct StorageLimits<Eigen::half> {
  static constexpr Wide unit_roundoff = 0x1p-11L, smallest = 0x1p-24L, overflow = 65520;  // 65504 and half a step
};
template <>
struct StorageLimits<Eigen::bfloat16> {
  static constexpr Wide unit_roundoff = 0x1p-8L, smallest = 0x1p-133L, overflow = 0x1.ffp127L;
};
template <class Scalar>
constexpr Wide smallest = StorageLimits<Scalar>::smallest;

// Error of a stored result less what its one rounding may cost: 0.51 of the distance to the next value. inf is right
// where no finite value is nearer. float and double count their rounding with all others.
template <class T>
Wide error_before_storing(T stored, Wide exact) {
  Wide const error = std::abs(static_cast<Wide>(stored) - exact);
  if constexpr (foldnorm::real_scalar<T>) {
    return error;
  } else {
    using Limits = StorageLimits<T>;
    if (std::isinf(error) && static_cast<Wide>(stored) * exact > 0 && std::abs(exact) >= 0.9999L * Limits::overflow)
      return 0;
    Wide const spacing =
        2 * Limits::unit_roundoff * std::exp2(std::floor(std::log2(std::abs(exact) + Limits::smallest)));
    return std::isfinite(error) ? std::max<Wide>(0, error - 0.51L * std::max(spacing, Limits::smallest)) : error;
  }
}

struct ForwardErrors {
  double y, nrm;
};

// gamma and beta in the type of x, or in the type that it is computed in.
template <class Scalar, class P>
ForwardErrors forward_errors(Matrix<Scalar> const& y, Matrix<Scalar> const& x, Vector<P> const& gamma,
                             Vector<P> const& beta, foldnorm::Compute<Scalar> eps, bool subtracts_mean) {
  WideNorm<Scalar> const norm(x, eps, subtracts_mean);
  Worst worst_y, worst_nrm;
  for (Index j = 0; j < x.cols(); ++j) {
    Wide largest_error = 0, largest_output = 0;
    for (Index i = 0; i < x.rows(); ++i) {
      Wide const product = static_cast<Wide>(gamma[i]) * norm.xhat(i, j);
      Wide const exact = product + static_cast<Wide>(beta[i]);
      Wide const error = error_before_storing(y(i, j), exact);
      worst_y.see(error, unit_roundoff<Scalar> * (std::abs(product) + std::abs(Wide(beta[i]))) + smallest<Scalar>);
      largest_error = std::isfinite(error) ? std::max(largest_error, error) : error;
      largest_output = std::max(largest_output, std::abs(exact));
    }
    if (largest_error > 0) worst_nrm.see(largest_error, largest_output + smallest<Scalar>);
  }
  return {worst_y.value(), worst_nrm.value()};
}

struct BackwardErrors {
  double dx, dgamma, dbeta;
};

template <class Scalar, class Gradients>
BackwardErrors backward_errors(Gradients const& ours, Matrix<Scalar> const& dy, Matrix<Scalar> const& x,
                               Vector<Scalar> const& gamma, foldnorm::Compute<Scalar> eps, bool subtracts_mean) {
  WideNorm<Scalar> const norm(x, eps, subtracts_mean);
  Worst worst_dx, worst_dgamma, worst_dbeta;
  auto const n = static_cast<Wide>(x.rows());
  for (Index j = 0; j < x.cols(); ++j) {
    WideSum g_sum, g_size, product_sum, product_size;
    auto const g = [&](Index i) { return static_cast<Wide>(gamma[i]) * static_cast<Wide>(dy(i, j)); };
    for (Index i = 0; i < x.rows(); ++i) {
      g_sum.add(g(i));
      g_size.add(std::abs(g(i)));
      product_sum.add(g(i) * norm.xhat(i, j));
      product_size.add(std::abs(g(i) * norm.xhat(i, j)));
    }
    Wide const mean_g = subtracts_mean ? g_sum.total() / n : 0;
    Wide const mean_size = subtracts_mean ? g_size.total() / n : 0;
    for (Index i = 0; i < x.rows(); ++i) {
      Wide const xhat = norm.xhat(i, j);
      Wide const exact = norm.inverse_deviation[j] * (g(i) - mean_g - xhat * product_sum.total() / n);
      Wide const terms = std::abs(g(i)) + mean_size + std::abs(xhat) * product_size.total() / n;
      worst_dx.see(error_before_storing(ours.dx(i, j), exact),
                   unit_roundoff<Scalar> * norm.inverse_deviation[j] * terms + smallest<Scalar>);
    }
  }
  for (Index i = 0; i < x.rows(); ++i) {
    WideSum dgamma, dgamma_size, dbeta, dbeta_size;
    for (Index j = 0; j < x.cols(); ++j) {
      auto const dy_ij = static_cast<Wide>(dy(i, j));
      dgamma.add(dy_ij * norm.xhat(i, j));
      dgamma_size.add(std::abs(dy_ij * norm.xhat(i, j)));
      dbeta.add(dy_ij);
      dbeta_size.add(std::abs(dy_ij));
    }
    worst_dgamma.see(error_before_storing(ours.dgamma[i], dgamma.total()),
                     unit_roundoff<Scalar> * dgamma_size.total() + smallest<Scalar>);
    worst_dbeta.see(error_before_storing(ours.dbeta[i], dbeta.total()),
                    unit_roundoff<Scalar> * dbeta_size.total() + smallest<Scalar>);
  }
  return {worst_dx.value(), worst_dgamma.value(), worst_dbeta.value()};
}

}  // namespace laws
