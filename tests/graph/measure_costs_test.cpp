// SPDX-License-Identifier: MIT
// tests/graph/measure_costs_test.cpp -- the measured table is complete. What it says depends on the machine.
#include <foldnorm/graph/measure_costs.hpp>

#include "catch.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

using foldnorm::CostKind;
using foldnorm::OperationCosts;

TEST_CASE("measure_costs: every cost is positive, points beyond the largest are filled in") {
  OperationCosts const costs = foldnorm::measure_costs({{16, 4096}, {1, 2048}, 1e-6});  // 2^35 multiplications at most
  for (std::size_t kind = 0; kind < foldnorm::cost_kinds; ++kind) {
    CAPTURE(kind);
    CHECK((costs.table(static_cast<CostKind>(kind)).array() > 0).all());
  }
  auto const& product = costs.table(CostKind::product);
  CHECK(product(1, 1) == product(1, 0));
  CHECK(costs.seconds_per_node == 0);
}

TEST_CASE("measure_costs: a measurement that cannot be made is refused") {
  double const infinity = std::numeric_limits<double>::infinity();
  for (double const seconds : {0.0, -1.0, infinity, std::nan("")}) {
    CHECK_THROWS_AS(foldnorm::measure_costs({{16}, {1}, seconds}), std::invalid_argument);
  }
  CHECK_THROWS_AS(foldnorm::measure_costs({{16, 8}, {1}, 1e-6}), std::invalid_argument);
}
