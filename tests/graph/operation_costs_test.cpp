// SPDX-License-Identifier: MIT
// tests/graph/operation_costs_test.cpp -- the table of costs: between its points, outside of them, and in print.
#include <foldnorm/graph/operation_costs.hpp>

#include "catch.hpp"

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <string>

using foldnorm::CostKind;
using foldnorm::OperationCosts;

TEST_CASE("operation costs: linear in the logarithms between points, constant outside") {
  OperationCosts costs({16, 64}, {1, 100});
  costs.table(CostKind::pass) << 1, 3, 5, 11;
  auto const at = [&](double features, double tokens) {
    return costs.seconds_per_value(CostKind::pass, features, tokens);
  };
  CHECK(at(16, 1) == 1);
  CHECK(at(64, 100) == 11);
  CHECK(at(16, 10) == Approx(2));  // half way
  CHECK(at(32, 1) == Approx(3));
  CHECK(at(32, 10) == Approx(5));
  CHECK(at(1, 1) == 1);
  CHECK(at(4096, 1e6) == 11);
  CHECK(costs.seconds_per_value(CostKind::product, 16, 1) == 0);
}

TEST_CASE("operation costs: one point is enough, none or points out of order are refused") {
  OperationCosts costs({8}, {8});
  costs.table(CostKind::center).setConstant(2);
  CHECK(costs.seconds_per_value(CostKind::center, 1, 1000) == 2);
  CHECK_THROWS_AS(OperationCosts({}, {1}), std::invalid_argument);
  CHECK_THROWS_AS(OperationCosts({1}, {}), std::invalid_argument);
  CHECK_THROWS_AS(OperationCosts({2, 2}, {1}), std::invalid_argument);
  CHECK_THROWS_AS(OperationCosts({1}, {3, 2}), std::invalid_argument);
  CHECK_THROWS_AS(OperationCosts({0, 1}, {1}), std::invalid_argument);
}

TEST_CASE("operation costs: print a line for each operation and number of features") {
  OperationCosts costs({16, 64}, {1, 8});
  costs.table(CostKind::bare_rms_norm) << 1.26e-12, 0, 2.5e-9, 1e-6;
  costs.seconds_per_node = 2e-8;
  std::ostringstream out;
  out << costs;
  std::string const text = out.str();
  CHECK(std::ranges::count(text, '\n') == 2 + 2 * foldnorm::cost_kinds);
  CHECK(text.find("tokens 1 8\n# and 20 nanoseconds a node\n") != std::string::npos);
  CHECK(text.find("\nbare_rms_norm 16 1.3 0\nbare_rms_norm 64 2500 1e+06\n") != std::string::npos);
}
