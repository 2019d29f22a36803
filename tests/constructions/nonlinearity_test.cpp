// SPDX-License-Identifier: MIT
#include <foldnorm/constructions/nonlinearity.hpp>

#include <cmath>
#include <random>
#include <stdexcept>

#include "catch.hpp"
#include "constructions/labelled_samples.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;

auto norm_in_groups(Index features, Index groups) {
  return [norm = ParallelLayerNorm<double>(features, features / groups, {.eps = 0, .affine = false})](
             Vector<double> const& x) {
    Vector<double> y(x.size());
    norm.forward(x, y);
    return y;
  };
}

Vector<double> normal(Index features, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  return Vector<double>::NullaryExpr(features, [&] { return detail::normal_draw(random); });
}

}  // namespace

TEST_CASE("hessian_energy: equals finite differences of the layer to 5 digits") {
  for (auto const& [features, groups] : {std::pair<Index, Index>{3, 1}, {8, 1}, {8, 2}, {16, 4}, {32, 8}, {12, 4}}) {
    for (std::uint64_t const seed : {1u, 2u, 3u}) {
      CAPTURE(features, groups, seed);
      Vector<double> const x = normal(features, seed);
      double smallest = 1e9;  // deviation of a group, the scale on which the map bends
      for (Index g = 0; g < groups; ++g) {
        Vector<double> const group = x.segment(g * features / groups, features / groups);
        smallest = std::min(smallest, std::sqrt((group.array() - group.mean()).square().mean()));
      }
      double const by_differences = hessian_energy_by_differences(norm_in_groups(features, groups), x, 3e-4 * smallest);
      CHECK(by_differences == Approx(hessian_energy(x, groups)).epsilon(1e-5));
    }
  }
}

TEST_CASE("hessian_energy_by_differences: of a map that is known") {
  auto const f = [](Vector<double> const& x) { return Vector<double>{{x(0) * x(0) + 3 * x(0) * x(1), 5 * x(1) - 7}}; };
  CHECK(hessian_energy_by_differences(f, normal(2, 1), 1e-2) == Approx(4 + 2 * 9).epsilon(1e-8));
  CHECK_THROWS_AS(hessian_energy_by_differences(f, normal(2, 1), 0), std::invalid_argument);
}

TEST_CASE("hessian_energy: the ratio's bound holds on a thousand samples, with equality for equal groups") {
  for (auto const& [features, groups] : {std::pair<Index, Index>{8, 2}, {16, 2}, {16, 4}, {32, 8}, {12, 4}}) {
    double const bound = hessian_ratio_bound(features, groups);
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
      CAPTURE(features, groups, seed);
      Vector<double> const x = normal(features, seed);
      CHECK(hessian_energy(x, groups) >= bound * hessian_energy(x) * (1 - 1e-13));
    }
    Vector<double> const equal_groups = normal(features / groups, 7).replicate(groups, 1);
    CHECK(hessian_energy(equal_groups, groups) == Approx(bound * hessian_energy(equal_groups)).epsilon(1e-12));
  }
  CHECK(hessian_ratio_bound(8, 2) == Approx(4.0 / 3));
  CHECK(hessian_ratio_bound(32, 8) == Approx(128.0 / 30));
  CHECK(hessian_ratio_bound(16, 1) == 1);
  for (Index const d : {8, 16, 64}) {
    CHECK(hessian_ratio_bound(d, d / 4) >= static_cast<double>(d) / 8);
    for (Index g = 1; g <= d / 2; g *= 2) CHECK(hessian_ratio_bound(d, g) <= hessian_ratio_bound(d, d / 4));
  }
}

TEST_CASE("hessian_energy: groups of two features are steps, without curvature") {
  Vector<double> const x = normal(8, 5);
  CHECK(hessian_energy(x, 4) == 0);
  CHECK(hessian_ratio_bound(8, 4) == 0);
  CHECK(hessian_energy_by_differences(norm_in_groups(8, 4), x, 1e-3) == Approx(0).margin(1e-15));
}

TEST_CASE("hessian_energy: constant groups of three or more have infinite curvature, whatever their mean rounds to") {
  CHECK(std::isinf(hessian_energy(Vector<double>::Constant(3, .1))));
  CHECK(hessian_ratio_bound(Index{1} << 40, Index{1} << 38) == Approx(std::ldexp(1.0, 37)));
}

TEST_CASE("hessian_energy and its bound refuse groups that do not divide") {
  Vector<double> const x = normal(8, 5);
  CHECK_THROWS_AS(hessian_energy(x, 3), std::invalid_argument);
  CHECK_THROWS_AS(hessian_energy(x, 0), std::invalid_argument);
  CHECK_THROWS_AS(hessian_ratio_bound(2, 1), std::invalid_argument);
  CHECK_THROWS_AS(hessian_ratio_bound(8, 5), std::invalid_argument);
  CHECK_THROWS_AS(ln_net_vc_bound(0), std::invalid_argument);
}
