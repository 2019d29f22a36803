// SPDX-License-Identifier: MIT
#include <foldnorm/constructions/approximate.hpp>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numbers>
#include <string>

#include "approximation/lipschitz_functions.hpp"
#include "catch.hpp"
#include "graph/matchers.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;
using namespace foldnorm::approximation;
using foldnorm::testing::Contains;

constexpr LipschitzInterval unit_interval{0, 1, 3};
// Of a bound that is attained: the readout adds up N steps, N roundings of half an ulp each of |f| <= 3.
constexpr double tolerance = 1e-12;

UnitOptions hard(UnitKind kind = UnitKind::parallel_layer_norm, Index norm_size = 2) {
  return {.kind = kind, .mode = StepMode::hard, .norm_size = norm_size};
}

// Every unit that makes steps, soft: small and large groups, with and without eps.
std::vector<UnitOptions> soft_units(double softness) {
  return {
      {.softness = softness},
      {.softness = softness, .eps = 0.3},
      {.norm_size = 3, .softness = softness},
      {.norm_size = 3, .softness = softness, .eps = 0},
      {.norm_size = 8, .softness = softness, .eps = 0.5},
      {.kind = UnitKind::parallel_layer_scaling, .norm_size = 1, .softness = softness},
      {.kind = UnitKind::parallel_layer_scaling, .norm_size = 2, .softness = softness, .eps = 0},
      {.kind = UnitKind::parallel_layer_scaling, .norm_size = 8, .softness = softness, .eps = 1},
      {.kind = UnitKind::tanh, .softness = softness},
      {.kind = UnitKind::sigmoid, .softness = softness},
  };
}

std::string name(UnitOptions const& o) {
  return std::string(to_string(o.kind)) + " " + std::to_string(unit_size(o)) + " eps " + std::to_string(unit_eps(o)) +
         " softness " + std::to_string(o.softness);
}

// The sum of p_k |x - m_k| in cells, x cells above an edge, over cells on both sides: what e(s) is the maximum of.
double distance_to_centres(UnitKind kind, double s, double x) {
  auto const sigma = [&](double z) {
    return is_norm(kind) ? z / std::sqrt(1 + z * z) : kind == UnitKind::tanh ? std::tanh(z) : std::tanh(z / 2);
  };
  double sum = 0;
  for (int k = -4000; k <= 4000; ++k) {  // the cell from k to k + 1
    sum += (sigma((x - k) / s) - sigma((x - k - 1) / s)) / 2 * std::abs(x - k - 0.5);
  }
  return sum;
}

}  // namespace

TEST_CASE("soft_step_error: the table of e(s)") {
  struct Row {
    double s, e;
  };
  for (Row const row : {Row{0.01, 0.50008224},
                        {0.03, 0.50073989},
                        {0.1, 0.50818440},
                        {0.2, 0.53226896},
                        {0.3, 0.57094957},
                        {0.5, 0.68434067},
                        {1, 1.08899349},
                        {2, 2.04225105}}) {
    CAPTURE(row.s);
    double const e = soft_step_error(UnitKind::parallel_layer_norm, row.s);
    CHECK(std::abs(e - row.e) <= 0.5e-8 + 1e-10);  // the table's last digit
    CHECK(e <= 0.5 + std::numbers::pi * std::numbers::pi / 12 * row.s * row.s);
    CHECK(soft_step_error(UnitKind::parallel_layer_scaling, row.s) == e);
  }
  CHECK(error_per_cell(hard()) == 0.5);
  CHECK(error_per_cell({.kind = UnitKind::relu}) == 0.5);
}

TEST_CASE("soft_step_error: no point of a cell is worse than its edge") {
  for (UnitKind const kind : {UnitKind::parallel_layer_norm, UnitKind::tanh, UnitKind::sigmoid}) {
    for (double const s : {0.003, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0}) {
      CAPTURE(to_string(kind), s);
      double const e = soft_step_error(kind, s), edge = distance_to_centres(kind, s, 0);
      CHECK(edge <= e + 1e-12);
      // The test's sum stops 4000 cells away, where the norms' weights s^2 / (2 k^3), on two sides, add up to s^2 /
      // 4000.
      CHECK(edge >= e - 1e-12 - s * s / 4000);
      for (int i = 1; i <= 50; ++i) CHECK(distance_to_centres(kind, s, 0.01 * i) <= edge + 1e-12);
    }
  }
}

TEST_CASE("required_groups: the formula, and the theorem's numbers") {
  for (auto const& [epsilon, cells] : {std::pair{0.3, 5}, {0.1, 15}, {0.01, 150}, {0.001, 1500}}) {
    CAPTURE(epsilon);
    RequiredGroups const pln = required_groups(unit_interval, epsilon, hard());
    CHECK(pln.cells == cells);
    CHECK(pln.groups == cells - 1);
    CHECK(pln.neurons == 2 * (cells - 1));
    CHECK(pln.least_groups == cells - 1);
    CHECK(pln.strict_minimum == cells + 1);  // 3 / (2 epsilon) is an integer
    RequiredGroups const sign = required_groups(unit_interval, epsilon, sign_units());
    CHECK(sign.neurons == cells - 1);
    CHECK(sign.least_groups == cells - 1);
    RequiredGroups const relu = required_groups(unit_interval, epsilon, {.kind = UnitKind::relu});
    CHECK(relu.groups == cells);
    CHECK(relu.least_groups == cells - 2);
    // Steep enough, the smooth units need as many: e(s) - 1/2 is 2e-22.
    CHECK(required_groups(unit_interval, epsilon, {.kind = UnitKind::tanh, .softness = 0.04}).cells == cells);
    CHECK_FALSE(required_groups(unit_interval, epsilon, {.kind = UnitKind::tanh}).least_groups);
    CHECK_FALSE(required_groups(unit_interval, epsilon).least_groups);
  }
  CHECK(required_groups({0, 1, 3}, 0.4, hard()).cells == 4);  // 3.75
  CHECK(required_groups({0, 1, 3}, 0.4, hard()).strict_minimum == 4);
  CHECK(required_groups({0, 1, 3}, 1.5, hard()).groups == 0);
  CHECK(required_groups({0, 1, 3}, 1.5, {.kind = UnitKind::relu}).least_groups == 0);
  CHECK(required_groups({0, 1, 3}, 1, {.kind = UnitKind::relu}).least_groups == 1);
  struct Soft {
    double softness;
    std::array<Index, 3> cells;
  };
  for (Soft const& row : {Soft{0.01, {6, 16, 151}}, {0.3, {6, 18, 172}}}) {
    CHECK(required_groups(unit_interval, 0.3, {.softness = row.softness}).cells == row.cells[0]);
    CHECK(required_groups(unit_interval, 0.1, {.softness = row.softness}).cells == row.cells[1]);
    CHECK(required_groups(unit_interval, 0.01, {.softness = row.softness}).cells == row.cells[2]);
  }
}

TEST_CASE("approximate: hard steps stay within the bound for six functions, and attain it on the linear one") {
  for (double const epsilon : {0.3, 0.1, 0.01, 0.001}) {
    for (Target const& target : lipschitz_functions(3)) {
      CAPTURE(epsilon, target.name);
      Approximant const g = approximate(target.f, unit_interval, epsilon, hard());
      CHECK(g.bound <= epsilon * (1 + tolerance));
      Index const grid = epsilon < 0.01 ? 5003 : 20'002;  // beside 4497 points at edges
      double const error = largest_error(g.network, target.f, points_of(unit_interval, g.cells, grid));
      CHECK(error <= epsilon * (1 + tolerance));
      if (target.name == "linear") CHECK(error >= epsilon * (1 - 1e-5));  // 1e-9 off an edge: 3e-9 of 1e-3
    }
  }
}

TEST_CASE("approximate: soft steps stay within the bound for six functions") {
  for (double const softness : {0.01, 0.1, 0.3}) {
    for (double const epsilon : {0.3, 0.1, 0.01}) {
      for (Target const& target : lipschitz_functions(3)) {
        CAPTURE(softness, epsilon, target.name);
        Approximant const g = approximate(target.f, unit_interval, epsilon, {.softness = softness});
        CHECK(g.bound <= epsilon * (1 + tolerance));
        CHECK(largest_error(g.network, target.f, points_of(unit_interval, g.cells)) <= g.bound * (1 + tolerance));
      }
    }
  }
}

TEST_CASE("approximate: every unit stays within its bound, and the soft norms are one function") {
  LipschitzInterval const interval{-2, 3, 1.7};
  auto const f = [](double x) { return 1.7 * std::sin(x) + 4; };
  Eigen::RowVectorXd const some = Eigen::RowVectorXd::LinSpaced(501, -4, 5);
  for (double const softness : {0.02, 0.1, 1.0}) {
    Matrix<double> first;
    for (UnitOptions const& options : soft_units(softness)) {
      INFO(name(options));
      Approximant const g = approximate(f, interval, 0.1, options);
      CHECK(g.groups == g.cells - 1);
      CHECK(g.width == g.groups * unit_size(options));
      CHECK(largest_error(g.network, f, points_of(interval, g.cells, 3001)) <= g.bound * (1 + tolerance));
      Matrix<double> const y = g.network.forward(some);
      if (first.size() == 0) first = y;
      // Groups of any size, with any eps, show the same sigma. u is off by 5e-16 of |x| in 1/50 of a cell .05 wide.
      if (is_norm(options.kind)) CHECK((y - first).cwiseAbs().maxCoeff() <= 1e-12);
    }
  }
  Matrix<double> first;
  for (UnitOptions const& options :
       {hard(), hard(UnitKind::parallel_layer_norm, 3), hard(UnitKind::parallel_layer_norm, 8), sign_units(),
        hard(UnitKind::parallel_layer_scaling, 2), hard(UnitKind::parallel_layer_scaling, 8)}) {
    INFO(name(options));
    Approximant const g = approximate(f, interval, 0.1, options);
    CHECK(g.groups == 43 - 1);  // 1.7 * 5 / .2 = 42.5
    CHECK(largest_error(g.network, f, points_of(interval, g.cells, 3001)) <= g.bound * (1 + tolerance));
    Matrix<double> const y = g.network.forward(some);
    if (first.size() == 0) first = y;
    CHECK((y - first).cwiseAbs().maxCoeff() <= tolerance);
  }
}

TEST_CASE("approximate: relu interpolates within the bound") {
  for (double const epsilon : {0.3, 0.1, 0.01, 0.001}) {
    for (Target const& target : lipschitz_functions(3)) {
      CAPTURE(epsilon, target.name);
      Approximant const g = approximate(target.f, unit_interval, epsilon, {.kind = UnitKind::relu});
      CHECK(g.groups == required_groups(unit_interval, epsilon, hard()).cells);
      // Slopes up to 6 / cell change N times over an interval of 1: N * 6 roundings.
      double const rounding = 6 * static_cast<double>(g.cells) * std::numeric_limits<double>::epsilon();
      CHECK(largest_error(g.network, target.f, points_of(unit_interval, g.cells)) <= epsilon * (1 + 1e-12) + rounding);
    }
  }
}

TEST_CASE("approximate: on a threshold a hard step is the mean of its neighbours") {
  Approximant const g = approximate([](double x) { return 3 * x; }, unit_interval, 0.375, hard());  // 4 cells
  REQUIRE(g.cells == 4);
  Eigen::RowVectorXd x(3);
  x << 0.25, 0.5, 0.75;
  CHECK((g.network.forward(x) - 3 * x).cwiseAbs().maxCoeff() <= 1e-15);
}

TEST_CASE("approximate: soft networks have the gradient that differences show") {
  LipschitzInterval const interval{0, 1, 3};
  auto const f = lipschitz_functions(3)[1].f;
  for (UnitOptions const& options : soft_units(0.3)) {
    INFO(name(options));
    Sequential<double> network = approximate(f, interval, 0.2, options).network;
    Eigen::RowVectorXd const x = Eigen::RowVectorXd::LinSpaced(37, 0.01, 0.98);
    Sequential<double>::Activations activations;
    network.forward(x, activations);
    Eigen::RowVectorXd dx(x.size());
    Sequential<double> gradient = zeros_like(network);
    network.backward(Matrix<double>::Ones(1, x.size()), x, activations, dx, gradient);
    double const step = 1e-6;  // truncation step^2 |f'''| / 6 with |f'''| some (3 / radius)^2, rounding 1e-16 / step
    auto const difference = [&](auto const& at) -> Eigen::RowVectorXd { return network.forward(at); };
    Eigen::RowVectorXd const slope =
        (difference((x.array() + step).matrix()) - difference((x.array() - step).matrix())) / (2 * step);
    CHECK(dx.cwiseAbs().maxCoeff() > 0.5);  // there is something to learn from
    CHECK((dx - slope).cwiseAbs().maxCoeff() <= 1e-7);
    std::map<std::string, double> analytic;
    gradient.for_each_parameter([&](std::string const& parameter, auto& g) { analytic[parameter] = g(0); });
    // One parameter of each kind: of the hidden weights, the norm's gain, the readout.
    network.for_each_parameter([&](std::string const& parameter, auto& values) {
      INFO(parameter);
      double const before = values(0);
      values(0) = before + step;
      double const above = network.forward(x).sum();
      values(0) = before - step;
      double const below = network.forward(x).sum();
      values(0) = before;
      CHECK(std::abs((above - below) / (2 * step) - analytic.at(parameter)) <= 1e-7);
    });
  }
}

TEST_CASE("approximate: hard steps have no gradient") {
  Sequential<double> const network = approximate(lipschitz_functions(3)[1].f, unit_interval, 0.2, hard()).network;
  Eigen::RowVectorXd const x = Eigen::RowVectorXd::LinSpaced(37, 0.01, 0.98);
  Sequential<double>::Activations activations;
  network.forward(x, activations);
  Eigen::RowVectorXd dx(x.size());
  Sequential<double> gradient = zeros_like(network);
  network.backward(Matrix<double>::Ones(1, x.size()), x, activations, dx, gradient);
  CHECK(dx.cwiseAbs().maxCoeff() <= 1e-12);
}

TEST_CASE("approximate: a constant where one cell is enough") {
  for (UnitOptions const& options : {UnitOptions{}, hard(), UnitOptions{.kind = UnitKind::relu}}) {
    Approximant const g = approximate([](double) { return 7; }, {0, 1, 0}, 1e-9, options);
    CHECK(g.groups == 0);
    CHECK(g.bound == 0);
    CHECK(g.network.forward(Matrix<double>::Constant(1, 1, 0.3))(0, 0) == 7);
  }
}

TEST_CASE("approximate: intervals far from zero, as long as doubles resolve the cells") {
  LipschitzInterval const far{1e6, 1e6 + 1, 1};
  auto const f = [](double x) { return x; };
  Approximant const g = approximate(f, far, 0.01, hard());
  CHECK(largest_error(g.network, f, points_of(far, g.cells, 3001)) <= 0.01 + 2e-10 * 1.01);  // ulps of 1e6
  CHECK_THROWS_WITH(approximate(f, {1e15, 1e15 + 1, 1}, 0.01, hard()), Contains("too narrow for doubles"));
}

TEST_CASE("approximate: refuses what it cannot do") {
  auto const f = [](double x) { return x; };
  double const nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH(approximate(f, {1, 1, 1}, 0.1), Contains("interval from 1"));
  CHECK_THROWS_WITH(approximate(f, {2, 1, 1}, 0.1), Contains("begin < end"));
  CHECK_THROWS_WITH(approximate(f, {nan, 1, 1}, 0.1), Contains("interval"));
  CHECK_THROWS_WITH(approximate(f, {0, inf, 1}, 0.1), Contains("interval"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, -1}, 0.1), Contains("lipschitz is -1"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, nan}, 0.1), Contains("lipschitz is"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 0), Contains("epsilon is 0"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, nan), Contains("epsilon is"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 1e-12), Contains("max_neurons"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 1e-320), Contains("max_neurons"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 0.1, {.max_neurons = 7}), Contains("7 are allowed"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 0.1, {.max_neurons = 0}), Contains("max_neurons is 0"));
  CHECK_THROWS_WITH(approximate([](double x) { return std::sqrt(x - 0.5); }, {0, 1, 1}, 0.1), Contains("is"));
  CHECK_THROWS_WITH(approximate([](double x) { return 1 / (x - x); }, {0, 1, 1}, 0.1), Contains("is inf"));
  CHECK_THROWS_WITH(approximate([](double x) { return 2 * x; }, {0, 1, 1}, 0.1), Contains("not a Lipschitz constant"));
  for (double const softness : {0.0, -1.0, nan, 5.0}) {
    CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 0.1, {.softness = softness}), Contains("softness is"));
    CHECK_THROWS_WITH(soft_step_error(UnitKind::tanh, softness), Contains("softness is"));
  }
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 0.1, {.norm_size = 1}), Contains("norm_size is 1"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 0.1, {.kind = UnitKind::parallel_layer_scaling, .norm_size = 0}),
                    Contains("norm_size is 0"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 0.1, {.eps = 0}), Contains("need eps > 0"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 0.1, {.eps = -1}), Contains("eps is -1"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 0.1, {.mode = StepMode::hard, .eps = 1e-5}),
                    Contains("hard steps need 0"));
  CHECK_THROWS_WITH(approximate(f, {0, 1, 1}, 0.1, hard(UnitKind::tanh)), Contains("has no hard steps"));
  CHECK_THROWS_WITH(soft_step_error(UnitKind::relu, 0.1), Contains("has no steps"));
}
