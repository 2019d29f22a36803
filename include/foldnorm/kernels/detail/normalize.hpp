// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/normalize.hpp -- the forward of both norms: statistics of a sample, then one pass over it.
//
//   y = gamma * xhat + beta,   xhat = (x - mean) / sqrt(var + eps)     LayerNorm
//                              xhat =  x         / sqrt(ms  + eps)     RMSNorm
//
// Never x * a + b with b = -mean * a: it cancels at the end, and constant samples would no longer give beta.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/detail/moments.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

#include <concepts>
#include <variant>

namespace foldnorm::detail {

// Gain and shift as functions of (value, feature): present or absent is decided once per call, not per element.
struct Unchanged {
  template <real_scalar T>
  T operator()(T value, Index) const {
    return value;
  }
};
template <real_scalar Scalar>
struct Times {
  Scalar const* gamma;
  template <real_scalar T>
  T operator()(T value, Index i) const {
    return value * static_cast<T>(gamma[i]);
  }
};
template <real_scalar Scalar>
struct Plus {
  Scalar const* beta;
  template <real_scalar T>
  T operator()(T value, Index i) const {
    return value + static_cast<T>(beta[i]);
  }
};

template <template <class> class Present, real_scalar Scalar>
std::variant<Unchanged, Present<Scalar>> present_or_unchanged(OptionalVector<Scalar> const& vector) {
  if (vector.present()) return Present<Scalar>{vector.data()};
  return Unchanged{};
}

// All in double, rounded once. For double storage this is the only way, and Accuracy makes no difference.
template <real_scalar Scalar, class Gain, class Shift>
void apply_in_double(Scalar const* x, Index n, SampleStatistics const& s, Gain gain, Shift shift, Scalar* y) {
  for (Index i = 0; i < n; ++i) {
    y[i] = static_cast<Scalar>(shift(gain(deviation(x[i], s) * s.inverse_deviation, i), i));
  }
}

// In float, with the two words of the mean as floats: E_y about 3 at every mean.
template <class Policy, class Gain, class Shift>
void apply_in_float(float const* x, Index n, SampleStatistics const& s, Gain gain, Shift shift, float* y) {
  auto const rstd = static_cast<float>(s.inverse_deviation);
  auto const high = static_cast<float>(s.mean_high);
  auto const low = static_cast<float>((s.mean_high - static_cast<double>(high)) + s.mean_low);
  for (Index i = 0; i < n; ++i) {
    float const centered = Policy::subtracts_mean ? (x[i] - high) - low : x[i];
    y[i] = shift(gain(centered * rstd, i), i);
  }
}

// Floats are enough where nothing near the result can leave their range: a reciprocal deviation within 2^+-40 bounds
// the sample by 2^40 sqrt(n), a gain up to 2^40 cannot overflow before the shift brings the result back, and
// mean(xhat^2) = 1 - eps * rstd^2 >= 2^-40 keeps xhat away from the subnormals, which the gain would magnify.
inline constexpr double float_limit = 0x1p40;

inline bool fits_float(SampleStatistics const& s, double eps) {
  double const rstd = s.inverse_deviation;
  return rstd >= 1 / float_limit && rstd <= float_limit && 1 - eps * rstd * rstd >= 1 / float_limit;
}

template <class Policy, real_scalar Scalar>
void normalize(ConstMatrixRef<Scalar> const& x, OptionalVector<Scalar> const& gamma, OptionalVector<Scalar> const& beta,
               Scalar eps, MatrixRef<Scalar>& y, NormStatistics<Scalar>* statistics, Accuracy accuracy,
               char const* function) {
  check_same_shape(x, y, {function, "x, y"});
  check_optional_size(gamma, x.rows(), {function, "gamma, features of x"});
  check_optional_size(beta, x.rows(), {function, "beta, features of x"});
  check_epsilon(eps, function);
  check_no_partial_overlap(x, y, {function, "x, y"});
  check_vector_apart(gamma, y, {function, "gamma, y"});
  check_vector_apart(beta, y, {function, "beta, y"});

  Index const n = x.rows();
  if (statistics) {
    statistics->samples.assign(static_cast<std::size_t>(x.cols()), {});
    statistics->features = n;
  }
  if (n == 0) return;

  [[maybe_unused]] bool const float_gain =
      accuracy == Accuracy::fast && (!gamma.present() || largest_magnitude(gamma.data(), n) <= float_limit);
  auto const every_sample = [&](auto gain, auto shift) {
    for (Index j = 0; j < x.cols(); ++j) {
      Scalar const* const from = x.data() + j * x.outerStride();
      Scalar* const to = y.data() + j * y.outerStride();
      SampleStatistics const s = sample_statistics<Policy>(from, n, static_cast<double>(eps));
      if constexpr (std::same_as<Scalar, float>) {
        if (float_gain && fits_float(s, static_cast<double>(eps))) {
          apply_in_float<Policy>(from, n, s, gain, shift, to);
        } else {
          apply_in_double(from, n, s, gain, shift, to);
        }
      } else {
        apply_in_double(from, n, s, gain, shift, to);
      }
      if (statistics) statistics->samples[static_cast<std::size_t>(j)] = s;
    }
  };
  std::visit(every_sample, present_or_unchanged<Times>(gamma), present_or_unchanged<Plus>(beta));
}

}  // namespace foldnorm::detail
