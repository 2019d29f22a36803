// SPDX-License-Identifier: MIT
// tests/core/rounding_test.cpp -- doubles rounded once to half and bfloat16.
#include <foldnorm/core/rounding.hpp>

#include "catch.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>

using namespace foldnorm;

namespace {

// The finite neighbours of a value in Scalar, by its bits: no conversion from double takes part.
template <class Scalar>
double stored_value(unsigned bits) {
  return static_cast<double>(Eigen::numext::bit_cast<Scalar>(static_cast<std::uint16_t>(bits)));
}
template <class Scalar>
unsigned stored_bits(Scalar value) {
  return Eigen::numext::bit_cast<std::uint16_t>(value);
}

}  // namespace

TEMPLATE_TEST_CASE("round_once: every midpoint of two neighbours, and what lies next to it", "", Eigen::half,
                   Eigen::bfloat16) {
  unsigned const infinity = stored_bits(std::numeric_limits<TestType>::infinity());
  for (unsigned bits = 0; bits + 1 < infinity; ++bits) {
    double const below = stored_value<TestType>(bits), above = stored_value<TestType>(bits + 1);
    double const middle = (below + above) / 2;  // exact in double
    unsigned const even = bits + bits % 2;
    for (double const sign : {1.0, -1.0}) {
      unsigned const minus = sign < 0 ? 0x8000U : 0U;
      bool const right =
          stored_bits(round_once<TestType>(sign * middle)) == (minus | even) &&
          stored_bits(round_once<TestType>(sign * std::nextafter(middle, 0))) == (minus | bits) &&
          stored_bits(round_once<TestType>(sign * std::nextafter(middle, above))) == (minus | (bits + 1)) &&
          stored_bits(round_once<TestType>(sign * below)) == (minus | bits);
      if (!right) FAIL("around " << sign * middle);
    }
  }
}

TEMPLATE_TEST_CASE("round_once: zeros keep their sign, and what is too large or no number stays so", "", Eigen::half,
                   Eigen::bfloat16) {
  double const largest = static_cast<double>(std::numeric_limits<TestType>::max());
  double const infinity = std::numeric_limits<double>::infinity();
  CHECK(stored_bits(round_once<TestType>(0.0)) == 0);
  CHECK(stored_bits(round_once<TestType>(-0.0)) == 0x8000U);
  CHECK(stored_bits(round_once<TestType>(-1e-300)) == 0x8000U);
  CHECK(static_cast<double>(round_once<TestType>(2 * largest)) == infinity);
  CHECK(static_cast<double>(round_once<TestType>(-1e300)) == -infinity);
  CHECK(static_cast<double>(round_once<TestType>(infinity)) == infinity);
  CHECK(std::isnan(static_cast<double>(round_once<TestType>(std::numeric_limits<double>::quiet_NaN()))));
}

TEST_CASE("round_once: double and float are the language's own conversions") {
  CHECK(round_once<double>(0.1) == 0.1);
  CHECK(round_once<float>(0.1) == 0.1F);
}
