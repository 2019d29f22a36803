// SPDX-License-Identifier: MIT
#include <foldnorm/core/random_draws.hpp>

#include "catch.hpp"

#include <cmath>
#include <random>

using namespace foldnorm::detail;

// From a Mersenne twister and a Box-Muller written in Python.
TEST_CASE("random draws are the same on every platform", "[core]") {
  std::mt19937_64 random(1);
  CHECK(unit_draw(random) == 0.13387664401253263);
  CHECK(normal_draw(random) == Approx(-1.903011410306383).epsilon(1e-15).margin(0));
  CHECK(index_draw(random, 10) == 6);
}

TEST_CASE("normal draws have the moments of a standard normal, and are finite", "[core]") {
  constexpr int count = 100'000;
  std::mt19937_64 random(2);
  double sum = 0, squares = 0, fourth_powers = 0;
  for (int i = 0; i < count; ++i) {
    double const x = normal_draw(random), square = x * x;
    REQUIRE(std::isfinite(x));
    sum += x;
    squares += square;
    fourth_powers += square * square;
  }
  // Five standard errors: of x 1, of x^2 sqrt(2), of x^4 sqrt(96).
  double const five = 5 / std::sqrt(count);
  CHECK(std::abs(sum / count) < five);
  CHECK(std::abs(squares / count - 1) < five * std::sqrt(2.0));
  CHECK(std::abs(fourth_powers / count - 3) < five * std::sqrt(96.0));
}
