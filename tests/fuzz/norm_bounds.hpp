// SPDX-License-Identifier: MIT
// tests/fuzz/norm_bounds.hpp -- results of a norm beside the reference in long double: docs/numerics.md, element by
// element. Matrices have a column for every norm (of a group of a sample).
#pragma once

#include <foldnorm/core/accuracy.hpp>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "fuzz/fuzzing.hpp"
#include "laws/reference.hpp"
#include "laws/tiers.hpp"

namespace fuzz {

using foldnorm::Accuracy;
using foldnorm::Compute;
using foldnorm::Index;
using foldnorm::Matrix;
using foldnorm::Vector;
using laws::smallest;
using laws::unit_roundoff;
using laws::Wide;

// In units of u times the terms that are added; and, for elements next to the mean, of u times the sample's largest.
struct Bounds {
  Wide terms, sample;
  explicit Bounds(Accuracy accuracy)
      : terms(accuracy == Accuracy::fast ? laws::tier_2 : laws::tier_1),
        sample(accuracy == Accuracy::fast ? laws::tier_2_nrm : 0) {}
};

template <class T>
bool is_nan(T value) {
  return std::isnan(static_cast<Compute<T>>(value));
}
template <class T>
bool is_inf(T value) {
  return std::isinf(static_cast<Compute<T>>(value));
}
template <class T>
bool is_finite(Matrix<T> const& x) {
  return std::ranges::none_of(x.reshaped(), [](T value) { return is_nan(value) || is_inf(value); });
}

// A sample that is not finite: NaN where the table in docs/numerics.md has it, beta elsewhere.
template <class T>
void check_spoilt(Matrix<T> const& y, Matrix<T> const& x, Matrix<T> const& beta, bool subtracts_mean) {
  bool const all = subtracts_mean || std::ranges::any_of(x.reshaped(), is_nan<T>);
  for (Index i = 0; i < x.rows(); ++i) {
    bool const spoilt = all || is_inf(x(i, 0));
    promise(spoilt ? is_nan(y(i, 0)) : y(i, 0) == beta(i, 0), "NaN or infinity in a sample: y is wrong");
  }
}

template <class T>
void check_forward(Matrix<T> const& y, Matrix<T> const& x, Matrix<T> const& gamma, Matrix<T> const& beta,
                   Compute<T> eps, bool subtracts_mean, Accuracy accuracy) {
  Bounds const bounds(accuracy);
  for (Index j = 0; j < x.cols(); ++j) {
    Matrix<T> const sample = x.col(j);
    if (!is_finite(sample)) {
      check_spoilt<T>(y.col(j), sample, beta.col(j), subtracts_mean);
      continue;
    }
    laws::WideNorm<T> const norm(sample, eps, subtracts_mean);
    Vector<Wide> const gained = gamma.col(j).template cast<Wide>().cwiseProduct(norm.xhat.col(0));
    for (Index i = 0; i < x.rows(); ++i) {
      auto const shift = static_cast<Wide>(beta(i, j));
      Wide allowed = bounds.terms * (unit_roundoff<T> * (std::abs(gained[i]) + std::abs(shift)) + smallest<T>);
      if (shift == 0) allowed += bounds.sample * unit_roundoff<T> * gained.cwiseAbs().maxCoeff();
      promise(laws::error_before_storing(y(i, j), gained[i] + shift) <= allowed, "forward: beyond the bound");
    }
  }
}

template <class T>
void check_dx(Matrix<T> const& dx, Matrix<T> const& dy, Matrix<T> const& gamma, laws::WideNorm<T> const& norm,
              bool subtracts_mean, Accuracy accuracy) {
  Bounds const bounds(accuracy);
  // Where the terms leave the range there is nothing to promise.
  Wide const largest = (foldnorm::real_scalar<T> ? Wide(std::numeric_limits<Compute<T>>::max()) : 65504) / 16;
  Matrix<Wide> const g = gamma.template cast<Wide>().cwiseProduct(dy.template cast<Wide>());
  for (Index j = 0; j < dy.cols(); ++j) {
    Vector<Wide> const products = g.col(j).cwiseProduct(norm.xhat.col(j));
    Wide const mean = subtracts_mean ? g.col(j).mean() : 0, size = subtracts_mean ? g.col(j).cwiseAbs().mean() : 0;
    Wide const rstd = norm.inverse_deviation[j];
    for (Index i = 0; i < dy.rows(); ++i) {
      Wide const xhat = norm.xhat(i, j);
      Wide const terms = rstd * (std::abs(g(i, j)) + size + std::abs(xhat) * products.cwiseAbs().mean());
      Wide const exact = rstd * (g(i, j) - mean - xhat * products.mean());
      if (terms > largest) continue;
      Wide const allowed = bounds.terms * (unit_roundoff<T> * terms + smallest<T>);
      promise(laws::error_before_storing(dx(i, j), exact) <= allowed, "dx: beyond the bound");
    }
  }
}

// Sums over samples, each of which has `dgamma.size() / norm_size` norms. An error of xhat next to the mean is one of
// the whole sample's, as in the forward.
template <class T>
void check_parameters(Vector<T> const& dgamma, Vector<T> const& dbeta, Matrix<T> const& dy,
                      laws::WideNorm<T> const& norm, Accuracy accuracy) {
  Bounds const bounds(accuracy);
  Index const norm_size = dy.rows(), groups = dgamma.size() / norm_size;
  Wide const u = unit_roundoff<T>;
  for (Index f = 0; f < dgamma.size(); ++f) {
    laws::WideSum gain, gain_size, shift, shift_size, sample_size;
    for (Index j = f / norm_size; j < dy.cols(); j += groups) {
      Wide const d = static_cast<Wide>(dy(f % norm_size, j)), product = d * norm.xhat(f % norm_size, j);
      gain.add(product);
      gain_size.add(std::abs(product));
      sample_size.add(std::abs(d) * norm.xhat.col(j).cwiseAbs().maxCoeff());
      shift.add(d);
      shift_size.add(std::abs(d));
    }
    Wide const allowed_gain =
        bounds.terms * (u * gain_size.total() + smallest<T>)+bounds.sample * u * sample_size.total();
    Wide const allowed_shift = bounds.terms * (u * shift_size.total() + smallest<T>);
    promise(laws::error_before_storing(dgamma[f], gain.total()) <= allowed_gain, "dgamma: beyond the bound");
    promise(laws::error_before_storing(dbeta[f], shift.total()) <= allowed_shift, "dbeta: beyond the bound");
  }
}

}  // namespace fuzz
