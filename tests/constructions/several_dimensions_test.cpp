// SPDX-License-Identifier: MIT
// The constructions for inputs of several dimensions: on a grid, through samples, and by least squares.
#include <foldnorm/constructions/approximate_on_grid.hpp>
#include <foldnorm/constructions/fit_random_groups.hpp>
#include <foldnorm/constructions/interpolate.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "approximation/lipschitz_functions.hpp"
#include "catch.hpp"
#include "graph/matchers.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;
using namespace foldnorm::approximation;
using foldnorm::testing::Contains;

double surface(Vector<double> const& x) { return std::sin(3 * x(0)) * std::cos(2 * x(1)) + std::abs(x(0) - x(1)) / 2; }
double const surface_lipschitz = std::sqrt(13.0) + std::sqrt(2.0) / 2;

Matrix<double> uniform(Index rows, Index columns, unsigned seed, double low = 0, double high = 1) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> any(low, high);
  return Matrix<double>::NullaryExpr(rows, columns, [&] { return any(random); });
}

// The largest |f - network| over columns.
template <class F>
double largest_miss(GridApproximant const& g, F const& f, Matrix<double> const& x) {
  Eigen::RowVectorXd const y = outputs(g.network, x);
  double worst = 0;
  for (Index j = 0; j < x.cols(); ++j) worst = std::max(worst, std::abs(y(j) - f(x.col(j))));
  return worst;
}

}  // namespace

TEST_CASE("approximate_on_grid: the surface, its numbers of cells and groups, and its error") {
  struct Row {
    double epsilon;
    Index cells, planes, boxes;
  };
  for (Row const& row : {Row{0.5, 7, 12, 49}, {0.2, 16, 30, 256}, {0.1, 31, 60, 961}}) {
    GridApproximant const g =
        approximate_on_grid(surface, {.dimensions = 2, .lipschitz = surface_lipschitz}, row.epsilon);
    CAPTURE(row.epsilon);
    CHECK(g.cells == row.cells);
    CHECK(g.cells == static_cast<Index>(std::ceil(surface_lipschitz * std::sqrt(2.0) / (2 * row.epsilon))));
    CHECK(g.planes == row.planes);
    CHECK(g.boxes == row.boxes);
    CHECK(g.width == 2 * (row.planes + row.boxes));
    CHECK(g.bound <= row.epsilon);
    CHECK(largest_miss(g, surface, uniform(2, 2000, 7)) <= g.bound);
  }
}

TEST_CASE("approximate_on_grid: right on every crossing of grid planes, and beside it") {
  for (Index const n : {1, 2, 3}) {
    auto const f = [](Vector<double> const& x) { return x.sum() + 0.25 * std::abs(x(0) - x(x.size() - 1)); };
    // 1 + 1/4 along an axis at most; n + 1/2 for the maximum's distance.
    double const lipschitz = static_cast<double>(n) + 0.5;
    GridApproximant const g =
        approximate_on_grid(f, {.dimensions = n, .lipschitz = lipschitz, .distance = Distance::maximum}, 0.3);
    Index const k = g.cells, points = k + 1;
    CHECK(k == static_cast<Index>(std::ceil(lipschitz / 0.6)));
    Index all = 1;
    for (Index i = 0; i < n; ++i) all *= points;
    for (double const beside : {0.0, -1e-16, 1e-16, -1e-13, 1e-13}) {
      Matrix<double> x(n, all);
      for (Index j = 0; j < all; ++j) {
        for (Index i = 0, rest = j; i < n; ++i, rest /= points) {
          x(i, j) = std::clamp(static_cast<double>(rest % points) / static_cast<double>(k) + beside, 0.0, 1.0);
        }
      }
      CAPTURE(n, k, beside);
      CHECK(largest_miss(g, f, x) <= g.bound * (1 + 1e-12));
    }
    // A point on all planes belongs to the cell above it: the value at that cell's centre.
    Vector<double> const crossing = Vector<double>::Constant(n, 1 / static_cast<double>(k));
    Vector<double> const centre = Vector<double>::Constant(n, 1.5 / static_cast<double>(k));
    CHECK(std::abs(g.network.forward(crossing)(0, 0) - f(centre)) <= 1e-12);
    // And what lies outside to the nearest cell.
    CHECK(std::abs(g.network.forward(Vector<double>::Constant(n, -5))(0, 0) - f(centre / 3)) <= 1e-12);
  }
}

TEST_CASE("approximate_on_grid: refuses what it cannot do") {
  auto const one = [](Vector<double> const&) { return 1.0; };
  double const nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(approximate_on_grid(one, {.dimensions = 0}, 0.1), Contains("dimensions is 0"));
  CHECK_THROWS_WITH(approximate_on_grid(one, {.lipschitz = -1}, 0.1), Contains("lipschitz is -1"));
  CHECK_THROWS_WITH(approximate_on_grid(one, {.lipschitz = nan}, 0.1), Contains("lipschitz is"));
  CHECK_THROWS_WITH(approximate_on_grid(one, {}, 0), Contains("epsilon is 0"));
  CHECK_THROWS_WITH(approximate_on_grid(one, {.dimensions = 8}, 0.01), Contains("max_weights"));
  CHECK_THROWS_WITH(approximate_on_grid([&](Vector<double> const&) { return nan; }, {}, 0.1), Contains("of box 0"));
  GridApproximant const constant = approximate_on_grid(one, {.dimensions = 3, .lipschitz = 0}, 0.1);
  CHECK(constant.boxes == 0);
  CHECK(constant.network.forward(Vector<double>::Zero(3))(0, 0) == 1);
}

TEST_CASE("interpolate: goes through every sample, by m - 1 groups at most") {
  struct Row {
    Index features, samples, outputs;
  };
  for (Row const& row : {Row{1, 7, 1}, {2, 100, 1}, {3, 500, 2}, {64, 300, 3}, {5, 1, 1}}) {
    Matrix<double> const x = uniform(row.features, row.samples, 3, -2, 5);
    Matrix<double> const y = uniform(row.outputs, row.samples, 4, -1, 1);
    for (UnitOptions const& units : {InterpolationOptions{}.units, sign_units()}) {
      Interpolant const g = interpolate(x, y, {.units = units});
      CAPTURE(row.features, row.samples, g.gap);
      CHECK(g.groups == row.samples - 1);
      CHECK(g.width == g.groups * units.norm_size);
      // m steps of up to 2 are added up.
      double const rounding = 2 * static_cast<double>(row.samples) * std::numeric_limits<double>::epsilon();
      CHECK((g.network.forward(x) - y).cwiseAbs().maxCoeff() <= rounding);
      CHECK(g.largest_error <= rounding);
    }
  }
}

TEST_CASE("interpolate: a label's runs are what costs groups, and copies of a sample cost none") {
  Matrix<double> x(1, 6), y(1, 6);
  x << 0, 1, 2, 3, 4, 4;
  y << 1, 1, -1, -1, 1, 1;
  Interpolant const g = interpolate(x, y);
  CHECK(g.groups == 2);
  CHECK(g.largest_error == 0);
  y(5) = 2;
  CHECK_THROWS_WITH(interpolate(x, y), Contains("samples 4 and 5 have different values and are equal"));
  x(5) = std::nextafter(4.0, 5.0);
  CHECK_THROWS_WITH(interpolate(x, y), Contains("too close"));
}

TEST_CASE("interpolate: refuses what it cannot do") {
  Matrix<double> x = uniform(2, 4, 1), y = uniform(1, 4, 2);
  CHECK_THROWS_AS(interpolate(x, y.leftCols(3)), shape_error);
  CHECK_THROWS_WITH(interpolate(x.leftCols(0), y.leftCols(0)), Contains("empty"));
  CHECK_THROWS_WITH(interpolate(x, y, {.units = {}}), Contains("no hard steps"));
  CHECK_THROWS_WITH(interpolate(x, y, {.units = {.mode = StepMode::hard, .max_neurons = 5}}), Contains("max_neurons"));
  CHECK_THROWS_WITH(interpolate(x, y, {.directions = 0}), Contains("directions"));
  y(2) = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH(interpolate(x, y), Contains("values are not all finite"));
  x(0, 1) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(interpolate(x, y), Contains("samples are not all finite"));
}

TEST_CASE("fit_random_groups: the error falls as the width grows, also on samples never seen") {
  Matrix<double> const x = uniform(2, 600, 11), other = uniform(2, 400, 12);
  auto const values = [](Matrix<double> const& at) {
    Matrix<double> y(2, at.cols());
    for (Index j = 0; j < at.cols(); ++j) y.col(j) << surface(at.col(j)), at.col(j).prod();
    return y;
  };
  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    double last = std::numeric_limits<double>::infinity(), last_other = last;
    for (Index const groups : {4, 16, 64}) {
      RandomGroupsFit const fit = fit_random_groups(x, values(x), seed, {.groups = groups});
      CAPTURE(seed, groups);
      Matrix<double> const miss = fit.network.forward(x) - values(x);
      CHECK((miss.rowwise().squaredNorm() / 600.0).cwiseSqrt().isApprox(fit.training_error, 1e-12));
      double const error = std::sqrt((fit.network.forward(other) - values(other)).squaredNorm() / 800);
      CHECK(fit.training_error.norm() < 0.7 * last);
      CHECK(error < 0.7 * last_other);
      last = fit.training_error.norm(), last_other = error;
    }
    CHECK(last_other < 0.02);
  }
}

TEST_CASE("fit_random_groups: is the minimum of the ridge's objective") {
  Matrix<double> const x = uniform(3, 40, 5), y = uniform(1, 40, 6);
  double const ridge = 1e-2;
  // In groups of 3 of PLN the features are what the norm shows, along two directions: |W|^2 is that of the readout
  // times 3, as each is read along a unit vector divided by sqrt(3) (and rho, which eps = 0 makes 1).
  RandomGroupsOptions const options{.groups = 10, .eps = 0, .ridge = ridge};
  Sequential<double> network = fit_random_groups(x, y, 1, options).network;
  auto& readout = std::get<Linear<double>>(network.layer(2));
  auto const objective = [&] {
    return (network.forward(x) - y).squaredNorm() / 40 + ridge * 3 * readout.weight.squaredNorm();
  };
  double const least = objective();
  Matrix<double> const at = readout.weight;
  for (unsigned seed = 0; seed < 20; ++seed) {
    readout.weight = at + uniform(1, at.cols(), seed, -1e-3, 1e-3);
    CHECK(objective() > least);
  }
}

TEST_CASE("fit_random_groups: does not care for the units of its inputs, nor for a constant one") {
  Matrix<double> const x = uniform(2, 200, 5), y = uniform(1, 200, 6);
  Matrix<double> scaled(3, 200);
  scaled << 1e6 * x.row(0), (1e-3 * x.row(1)).array() + 5, Matrix<double>::Constant(1, 200, 3);
  RandomGroupsFit const plain = fit_random_groups(x, y, 1, {.groups = 20, .ridge = 1e-6});
  Matrix<double> same(2, 200);
  same << scaled.row(0), scaled.row(1);
  RandomGroupsFit const in_other_units = fit_random_groups(same, y, 1, {.groups = 20, .ridge = 1e-6});
  // x(1) has lost three digits to the 5 beside it; the fit's condition is at most 1 / ridge.
  CHECK((plain.network.forward(x) - in_other_units.network.forward(same)).cwiseAbs().maxCoeff() <= 1e-7);
  for (double const constant : {3.0, 0.1, 1e6 / 3}) {  // also those whose mean is rounded
    CAPTURE(constant);
    scaled.row(2).setConstant(constant);
    RandomGroupsFit const fit = fit_random_groups(scaled, y, 1);
    Matrix<double> const moved = scaled.colwise() + Vector<double>{{0, 0, 1e-9}};
    CHECK((fit.network.forward(scaled) - fit.network.forward(moved)).cwiseAbs().maxCoeff() <= 1e-4);
  }
}

TEST_CASE("fit_random_groups, interpolate: a constant feature of any size is left out") {
  Matrix<double> x = uniform(2, 100, 15, -2, 2);
  Matrix<double> const y = (2 * x.row(0)).array().sin();
  for (double const constant : {0.0, 3.0, 1.7e18, 1e150}) {  // nanoseconds since 1970
    CAPTURE(constant);
    x.row(1).setConstant(constant);
    RandomGroupsFit const fit = fit_random_groups(x, y, 1, {.groups = 20});
    RandomGroupsFit const without = fit_random_groups(Matrix<double>(x.topRows(1)), y, 1, {.groups = 20});
    CHECK(fit.training_error(0) <= 1e-3);
    CHECK(without.training_error(0) <= 1e-3);
    CHECK(interpolate(x, y).largest_error <= 1e-12);
  }
}

TEST_CASE("fit_random_groups: refuses what it cannot do") {
  Matrix<double> x = uniform(2, 10, 1), y = uniform(1, 10, 2);
  CHECK_THROWS_AS(fit_random_groups(x, y.leftCols(3), 1), shape_error);
  CHECK_THROWS_WITH(fit_random_groups(x.leftCols(0), y.leftCols(0), 1), Contains("empty"));
  CHECK_THROWS_WITH(fit_random_groups(x, y, 1, {.groups = 0}), Contains("groups"));
  CHECK_THROWS_WITH(fit_random_groups(x, y, 1, {.norm_size = 2}), Contains("norm_size"));
  CHECK_THROWS_WITH(fit_random_groups(x, y, 1, {.eps = -1}), Contains("eps is -1"));
  CHECK_THROWS_WITH(fit_random_groups(x, y, 1, {.ridge = 0}), Contains("ridge"));
  CHECK_THROWS_WITH(fit_random_groups(x, y, 1, {.finest = 2, .coarsest = 1}), Contains("radii"));
  CHECK_THROWS_WITH(fit_random_groups(1e200 * x, y, 1), Contains("too large"));
  y(2) = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH(fit_random_groups(x, y, 1), Contains("values are not all finite"));
  x(0, 1) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(fit_random_groups(x, y, 1), Contains("samples are not all finite"));
}

TEST_CASE("interpolate: refuses what double cannot hold, and too many neurons however they are counted") {
  Matrix<double> const line{{0, 1, 2, 3, 4}}, steps{{0, 1, 0, 1, 0}};
  CHECK_THROWS_WITH(interpolate(1e308 * line.leftCols(2), steps.leftCols(2)), Contains("samples are not all within"));
  CHECK_THROWS_WITH(interpolate(line.leftCols(2), 1.7e308 * steps.leftCols(2)), Contains("values are not all within"));
  CHECK_THROWS_WITH(interpolate(5e-324 * line, steps), Contains("too close"));
  CHECK(interpolate(1e-300 * line, steps).largest_error <= 1e-12);
  CHECK_THROWS_WITH(interpolate(line, steps, {.units = {.mode = StepMode::hard, .norm_size = Index{1} << 62}}),
                    Contains("max_neurons"));
}
