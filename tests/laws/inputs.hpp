// SPDX-License-Identifier: MIT
// tests/laws/inputs.hpp -- samples by class, from a seed; and comparison bit by bit.
#pragma once

#include <foldnorm/core/types.hpp>

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>

namespace laws {

using foldnorm::Index;
using foldnorm::Matrix;
using foldnorm::Vector;

inline constexpr Index uneven_samples = 11;  // a block of 8 (AVX) and one that is not full

template <class Scalar>
constexpr Scalar infinity = std::numeric_limits<Scalar>::infinity();
template <class Scalar>
constexpr Scalar not_a_number = std::numeric_limits<Scalar>::quiet_NaN();
template <class Scalar>
constexpr Scalar largest = std::numeric_limits<Scalar>::max();
template <class Scalar>
constexpr Scalar smallest_subnormal = std::numeric_limits<Scalar>::denorm_min();

// N(mean, deviation), drawn in double and rounded once.
template <class Scalar>
Matrix<Scalar> normal(Index rows, Index columns, unsigned seed, double mean = 0, double deviation = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> draw(0, 1);
  return Matrix<Scalar>::NullaryExpr(
      rows, columns, [&](Index, Index) { return static_cast<Scalar>(mean + deviation * draw(engine)); });
}

// Features that depend on each other, around 2: covariances of condition about 1e2 where samples outnumber features.
template <class Scalar>
Matrix<Scalar> dependent(Index features, Index samples, unsigned seed) {
  Matrix<Scalar> x = normal<Scalar>(features, samples, seed);
  for (Index i = 1; i < features; ++i) x.row(i) = Scalar(.6) * x.row(i) + Scalar(.5) * x.row(i - 1);
  return x.array() + Scalar(2);
}

template <class Scalar>
Matrix<Scalar> uniform(Index rows, Index columns, unsigned seed, double low, double high) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> draw(0, 1);  // high - low itself may overflow
  return Matrix<Scalar>::NullaryExpr(rows, columns, [&](Index, Index) {
    double const t = draw(engine);
    return static_cast<Scalar>(low * (1 - t) + high * t);
  });
}

// Every sample at its own power of ten between the two exponents.
template <class Scalar>
Matrix<Scalar> magnitudes(Index rows, Index columns, unsigned seed, double low_exponent, double high_exponent) {
  Matrix<double> x = normal<double>(rows, columns, seed);
  std::mt19937 engine(seed + 1);
  std::uniform_real_distribution<double> draw(low_exponent, high_exponent);
  for (Index j = 0; j < columns; ++j) x.col(j) *= std::pow(10.0, draw(engine));
  return x.template cast<Scalar>();
}

// N(0, 1) with one feature of each sample at `size`; feature 0 in every second sample.
template <class Scalar>
Matrix<Scalar> outliers(Index rows, Index columns, unsigned seed, Scalar size) {
  Matrix<Scalar> x = normal<Scalar>(rows, columns, seed);
  for (Index j = 0; j < columns; ++j) x(j % 2 == 0 ? 0 : (j * 7) % rows, j) = size;
  return x;
}

// The same bits; tells -0 from 0, and takes a NaN for equal to itself.
template <class A, class B>
bool same_bits(A const& a, B const& b) {
  using Scalar = typename A::Scalar;
  using Bits = std::conditional_t<sizeof(Scalar) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(Scalar) == 4, std::uint32_t, std::uint64_t>>;
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  for (Index j = 0; j < a.cols(); ++j) {
    for (Index i = 0; i < a.rows(); ++i) {
      if (std::bit_cast<Bits>(Scalar(a(i, j))) != std::bit_cast<Bits>(Scalar(b(i, j)))) return false;
    }
  }
  return true;
}

// Equal as numbers (0 == -0), and no NaN.
template <class A, class B>
bool same_values(A const& a, B const& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() && (a.array() == b.array()).all();
}

template <class M>
bool all_zero(M const& m) {
  return (m.array() == typename M::Scalar(0)).all();
}

}  // namespace laws
