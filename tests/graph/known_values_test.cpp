// SPDX-License-Identifier: MIT
// tests/graph/known_values_test.cpp -- what values tell the analysis: nothing unless they are given, fit and agree.
#include <foldnorm/graph/known_values.hpp>

#include "graph/graph_testing.hpp"

#include "catch.hpp"

#include <cmath>
#include <limits>

using namespace foldnorm;
using namespace foldnorm::testing;
using detail::KnownValues;

namespace {

struct Fixture {
  Graph g = graph_of(
      "input x features=4\nlinear h x out=4 weight=W\nadd_parameter p h value=P per_token=1\n"
      "layer_norm n p gamma=g beta=b\nlayer_norm m n\noutput y m\n");
  Parameters values;

  ParameterId id(char const* name) const { return g.find_parameter(name).value(); }
  void gain(double a, double b, double c, double d) { values.set("g", Vector<double>{{a, b, c, d}}); }
  void shift(double a, double b, double c, double d) { values.set("b", Vector<double>{{a, b, c, d}}); }
};

}  // namespace

TEST_CASE("known_values: a parameter that is left out is neutral, with or without values") {
  Fixture f;
  for (KnownValues const& known : {KnownValues(f.g, nullptr), KnownValues(f.g, &f.values)}) {
    CHECK(known.is_uniform(ParameterId{}, 0, 4));
    CHECK(known.has_zero_sum(ParameterId{}, 0, 4));
  }
}

TEST_CASE("known_values: a named parameter is generic while its values are not given") {
  Fixture f;
  f.gain(1, 1, 1, 1);
  KnownValues const nothing(f.g, nullptr);
  CHECK_FALSE(nothing.is_uniform(f.id("g"), 0, 4));
  CHECK_FALSE(nothing.has_zero_sum(f.id("b"), 0, 4));
  CHECK_FALSE(nothing.are_centered({f.id("W")}));
  KnownValues const some(f.g, &f.values);
  CHECK(some.is_uniform(f.id("g"), 0, 4));
  CHECK_FALSE(some.has_zero_sum(f.id("b"), 0, 4));
}

TEST_CASE("known_values: ones are ones, all of them") {
  Fixture f;
  KnownValues const known(f.g, &f.values);
  CHECK(known.is_one(ParameterId{}, 4));
  CHECK_FALSE(known.is_one(f.id("g"), 4));
  f.gain(1, 1, 1, 1);
  CHECK(known.is_one(f.id("g"), 4));
  f.gain(1, 1, 1, 1.5);
  CHECK_FALSE(known.is_one(f.id("g"), 4));
  f.gain(2, 2, 2, 2);
  CHECK_FALSE(known.is_one(f.id("g"), 4));
}

TEST_CASE("known_values: zero means every entry of the part that is asked for") {
  Fixture f;
  f.shift(0, 0, 0, std::numeric_limits<double>::denorm_min());
  KnownValues const known(f.g, &f.values);
  CHECK(known.is_zero(f.id("b"), 0, 3));
  CHECK_FALSE(known.is_zero(f.id("b"), 0, 4));
  CHECK_FALSE(known.is_zero(f.id("g"), 0, 4));
  CHECK(known.is_zero(ParameterId{}, 0, 4));
  f.shift(1, 1, 1, 1);
  CHECK_FALSE(known.is_zero(f.id("b"), 0, 4));
  f.shift(1, -1, 1, -1);
  CHECK_FALSE(known.is_zero(f.id("b"), 0, 4));
}

TEST_CASE("known_values: uniform means equal bits on the part that is asked for") {
  Fixture f;
  f.gain(2, 2, 2, std::nextafter(2.0, 3.0));
  KnownValues const known(f.g, &f.values);
  CHECK(known.is_uniform(f.id("g"), 0, 3));
  CHECK(known.is_uniform(f.id("g"), 3, 4));
  CHECK_FALSE(known.is_uniform(f.id("g"), 0, 4));
  f.gain(std::nan(""), std::nan(""), 1, 1);
  CHECK_FALSE(known.is_uniform(f.id("g"), 0, 2));
}

TEST_CASE("known_values: a zero sum is one up to rounding in double, on the part that is asked for") {
  Fixture f;
  KnownValues const known(f.g, &f.values);
  f.shift(1, -1, 3, -2);
  CHECK(known.has_zero_sum(f.id("b"), 0, 2));
  CHECK_FALSE(known.has_zero_sum(f.id("b"), 2, 4));
  CHECK_FALSE(known.has_zero_sum(f.id("b"), 0, 4));
  f.shift(1, -1, 3, -3 + 4 * 0x1p-53 * 3);  // m u max: just what is let through
  CHECK(known.has_zero_sum(f.id("b"), 0, 4));
  f.shift(1, -1, 3, -3 + 1e-14);
  CHECK_FALSE(known.has_zero_sum(f.id("b"), 0, 4));
  f.shift(0, 0, 0, 0);
  CHECK(known.has_zero_sum(f.id("b"), 0, 4));
  for (double const rest : {0.0, 0x1p-7}) {  // a step of bfloat16
    f.values.set("b", Matrix<Eigen::bfloat16>(Vector<double>{{1, -1, 1, -1 - rest}}.cast<Eigen::bfloat16>()));
    CHECK(known.has_zero_sum(f.id("b"), 0, 4) == (rest == 0));
  }
}

TEST_CASE("known_values: centered means every column of every parameter") {
  Fixture f;
  KnownValues const known(f.g, &f.values);
  Matrix<double> w(4, 4);
  w << 1, 0, 2, 0, -1, 0, 2, 0, 0, 5, -2, 0, 0, -5, -2, 0;
  f.values.set("W", w);
  f.values.set("P", Matrix<float>(w.cast<float>()));  // per token, in another type
  CHECK(known.are_centered({f.id("W"), f.id("P")}));
  w(3, 3) = 1e-3;
  f.values.set("W", w);
  CHECK_FALSE(known.are_centered({f.id("W"), f.id("P")}));
  CHECK(known.are_centered({f.id("P")}));
}

TEST_CASE("known_values: values of another size tell nothing") {
  Fixture f;
  KnownValues const known(f.g, &f.values);
  f.values.set("g", Vector<double>::Ones(5));
  f.values.set("b", Matrix<double>::Zero(4, 2));
  f.values.set("W", Matrix<double>::Zero(4, 0));
  f.values.set("P", Matrix<double>::Zero(3, 2));
  CHECK_FALSE(known.is_uniform(f.id("g"), 0, 4));
  CHECK_FALSE(known.has_zero_sum(f.id("b"), 0, 4));
  CHECK_FALSE(known.are_centered({f.id("W")}));
  CHECK_FALSE(known.are_centered({f.id("P")}));
}
