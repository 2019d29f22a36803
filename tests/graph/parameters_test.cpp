// SPDX-License-Identifier: MIT
// tests/graph/parameters_test.cpp -- named matrices, each in its own storage type.
#include <foldnorm/graph/parameters.hpp>

#include "graph/matchers.hpp"

#include "catch.hpp"

#include <string>
#include <utility>
#include <vector>

using namespace foldnorm;
using foldnorm::testing::Contains;

TEST_CASE("parameters: keep each matrix in the type in which it came") {
  Parameters p;
  p.set("f", Matrix<float>::Constant(2, 3, 0.1F));
  p.set("d", Matrix<double>::Constant(3, 1, 0.1));
  CHECK(p.get<float>("f") == Matrix<float>::Constant(2, 3, 0.1F));
  CHECK(p.get<double>("d") == Matrix<double>::Constant(3, 1, 0.1));
  CHECK_THROWS_WITH(p.get<double>("f"), Contains("'f'") && Contains("type"));
  CHECK_THROWS_WITH(std::as_const(p).get<float>("d"), Contains("'d'") && Contains("type"));
  // A float widened, not re-read as the decimal 0.1.
  CHECK(p.as<double>("f")(1, 2) == static_cast<double>(0.1F));
  CHECK(p.as<double>("f")(1, 2) != 0.1);
}

TEST_CASE("parameters: set adds or replaces, even by another size and type") {
  Parameters p;
  p.set("w", Matrix<double>::Ones(2, 2));
  p.set("w", Matrix<float>::Ones(1, 4));
  CHECK(p.size() == 1);
  CHECK(p.get<float>("w").cols() == 4);
}

TEST_CASE("parameters: set copies, so that the caller's matrix and the stored one are two") {
  Matrix<double> m = Matrix<double>::Ones(2, 2);
  Parameters p;
  p.set("w", m);
  p.set("sum", m + m);  // an expression is evaluated
  m.setZero();
  CHECK(p.get<double>("w") == Matrix<double>::Ones(2, 2));
  CHECK(p.get<double>("sum") == 2 * Matrix<double>::Ones(2, 2));
  Parameters copy = p;
  copy.get<double>("w").setZero();
  CHECK(p.get<double>("w") == Matrix<double>::Ones(2, 2));
}

TEST_CASE("parameters: a missing name is an error that says it, and erasing it is none") {
  Parameters p;
  CHECK_FALSE(p.contains("w"));
  CHECK_THROWS_AS(p.at("w"), std::invalid_argument);
  CHECK_THROWS_WITH(std::as_const(p).as<double>("w"), Contains("'w'"));
  p.erase("w");
  p.set("w", Matrix<float>::Ones(1, 1));
  p.set("v", Matrix<float>::Ones(1, 1));
  p.erase("w");
  CHECK_FALSE(p.contains("w"));
  CHECK(p.contains("v"));
}

TEST_CASE("parameters: iterate by name") {
  Parameters p;
  for (char const* name : {"c", "a", "b"}) p.set(name, Matrix<float>::Ones(1, 1));
  std::string names;
  for (auto const& [name, value] : p) names += name;
  CHECK(names == "abc");
}

TEMPLATE_TEST_CASE("parameters: half and bfloat16 are storage types like the others", "", Eigen::half,
                   Eigen::bfloat16) {
  Parameters p;
  Matrix<TestType> const value = Matrix<TestType>::Constant(2, 3, TestType(0.1F));
  p.set("w", value);
  CHECK(p.get<TestType>("w") == value);
  CHECK_THROWS_WITH(p.get<float>("w"), Contains("'w'") && Contains("type"));
  CHECK(p.as<double>("w")(1, 2) == static_cast<double>(TestType(0.1F)));
}

TEST_CASE("parameters: assign rounds once to the type that is there, or writes nothing") {
  Parameters p;
  p.set("h", Matrix<Eigen::half>::Zero(1, 2));
  p.set("d", Matrix<double>::Zero(1, 2));
  Matrix<double> values(1, 2);
  values << 1 + 0x1p-11 + 0x1p-30, -3;  // just above the middle of two halves; as a float, on it
  p.assign("h", values);
  p.assign("d", values);
  CHECK(p.as<double>("h")(0, 0) == 1 + 0x1p-10);
  CHECK(p.get<double>("d") == values);
  values << 1, 65520;  // the least that a half rounds to infinity
  CHECK_THROWS_WITH(p.assign("h", values), Contains("'h'") && Contains("not finite"));
  CHECK(p.as<double>("h")(0, 0) == 1 + 0x1p-10);
  CHECK_THROWS_WITH(p.assign("h", Matrix<double>::Zero(2, 1)), Contains("2x1 vs 1x2"));
  CHECK_THROWS_WITH(p.assign("x", values), Contains("'x'"));
}
