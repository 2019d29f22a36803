// SPDX-License-Identifier: MIT
// What the single pass makes of a sample's sums, one sample per lane, and which samples it gives up.
#include <foldnorm/kernels/detail/lane_statistics.hpp>

#include <cmath>
#include <limits>

#include "catch.hpp"

namespace {

using namespace foldnorm::detail;

// Sums of n values around K with the given mean - K = d and variance.
template <class C>
LaneSums<C> sums_of(double n, double k, double d, double variance) {
  return {broadcast(C(k)), broadcast(C(n * d)), broadcast(C(n * (variance + d * d)))};
}
template <class Norm, class C>
auto statistics_of(double n, double k, double d, double variance, double eps) {
  return lane_statistics<Norm, C>(sums_of<C>(n, k, d, variance), C(n), C(eps));
}

}  // namespace

TEMPLATE_TEST_CASE("lane_statistics: mean in two words and reciprocal deviation of every lane", "", float, double) {
  using C = TestType;
  C const u = std::numeric_limits<C>::epsilon() / 2;
  LaneSums<C> sums{};
  for (int i = 0; i < width<C>; ++i) {
    sums.shift[i] = C(1000 + i);
    sums.sum[i] = C(16 * (0.1 + i / 100.0));
    sums.squares[i] = C(16 * (2 + i));
  }
  auto const layer = lane_statistics<LayerNormPolicy, C>(sums, 16, C(0.5));
  auto const rms = lane_statistics<RMSNormPolicy, C>(sums, 16, C(0.5));
  CHECK(layer.usable());
  CHECK(rms.usable());
  for (int i = 0; i < width<C>; ++i) {
    INFO("lane " << i);
    long double const d = static_cast<long double>(sums.sum[i]) / 16;
    long double const mean = static_cast<long double>(sums.shift[i]) + d;
    CHECK(std::abs(layer.mean_high[i] + static_cast<long double>(layer.mean_low[i]) - mean) <= u * d);
    CHECK(std::abs(static_cast<long double>(layer.mean_low[i])) <= u * mean);
    CHECK(std::abs(layer.rstd[i] * std::sqrt(2 + i - d * d + 0.5L) - 1) <= 4 * u);
    CHECK(rms.mean_high[i] == 0);
    CHECK(rms.mean_low[i] == 0);
    CHECK(std::abs(rms.rstd[i] * std::sqrt(2 + i + 0.5L) - 1) <= 4 * u);
  }
}

TEMPLATE_TEST_CASE("one_sample_statistics: what a lane gets, to the last digits of double", "", float, double) {
  using C = TestType;
  LaneSums<C> const sums{broadcast(C(1000)), broadcast(C(30)), broadcast(C(90))};
  auto const layer = one_sample_statistics<LayerNormPolicy, C>(sums, 30, C(0.25));
  auto const rms = one_sample_statistics<RMSNormPolicy, C>(sums, 30, C(0.25));
  double const tolerance = 8 * std::numeric_limits<double>::epsilon();
  CHECK(layer.usable());
  CHECK(layer.mean_high + layer.mean_low == 1001);
  CHECK(std::abs(layer.rstd - 1 / 1.5) <= tolerance);  // 90 / 30 - 1 + eps = 2.25
  CHECK(rms.usable());
  CHECK(rms.mean_high + rms.mean_low == 0);
  CHECK(std::abs(rms.rstd - 1 / std::sqrt(3.25)) <= tolerance);
  auto bad = sums;
  bad.squares = broadcast(std::numeric_limits<C>::quiet_NaN());
  CHECK_FALSE(one_sample_statistics<LayerNormPolicy, C>(bad, 30, C(0.25)).usable());
  CHECK_FALSE(one_sample_statistics<RMSNormPolicy, C>(bad, 30, C(0.25)).usable());
  CHECK_FALSE(
      one_sample_statistics<LayerNormPolicy, C>({sums.shift, broadcast(C(60)), broadcast(C(130))}, 30, C(0)).near);
}

TEMPLATE_TEST_CASE("lane_statistics: a K is near up to d^2 = 4 variances, and NaN is far", "", float, double) {
  using C = TestType;
  auto const is_near = [](double d, double variance) {
    return all_lanes(statistics_of<LayerNormPolicy, C>(8, 0, d, variance, 1e-5).near);
  };
  CHECK(is_near(0, 1));
  CHECK(is_near(1.99, 1));
  CHECK_FALSE(is_near(2.01, 1));
  CHECK_FALSE(is_near(1e4, 1));
  CHECK(is_near(0, 0));
  CHECK_FALSE(is_near(std::numeric_limits<C>::quiet_NaN(), 1));
  CHECK_FALSE(is_near(0, std::numeric_limits<C>::quiet_NaN()));
  CHECK_FALSE(is_near(std::numeric_limits<C>::infinity(), 1));
  CHECK(all_lanes(statistics_of<RMSNormPolicy, C>(8, 0, 1e4, 1, 1e-5).near));  // has no K
}

TEMPLATE_TEST_CASE("lane_statistics: in range means far from where float ends, and never NaN or flat", "", float,
                   double) {
  using C = TestType;
  auto const in_range = [](double variance, double eps) {
    bool const layer = all_lanes(statistics_of<LayerNormPolicy, C>(8, 0, 0, variance, eps).in_range);
    CHECK(layer == all_lanes(statistics_of<RMSNormPolicy, C>(8, 0, 0, variance, eps).in_range));
    return layer;
  };
  CHECK(in_range(1, 0));
  CHECK(in_range(0x1p79, 1e-5));
  CHECK(in_range(0x1p-79, 0));
  CHECK_FALSE(in_range(0x1p81, 1e-5));
  CHECK_FALSE(in_range(0x1p-81, 0));
  CHECK_FALSE(in_range(0, 1));  // flat: xhat is exactly 0 elsewhere
  CHECK_FALSE(in_range(0, 0));
  CHECK_FALSE(in_range(0x1p-41, 1));  // xhat near the subnormals
  CHECK(in_range(0x1p-39, 1));
  CHECK_FALSE(in_range(std::numeric_limits<C>::quiet_NaN(), 1));
  CHECK_FALSE(in_range(std::numeric_limits<C>::infinity(), 1));
  CHECK_FALSE(in_range(-1, 0));
}

TEMPLATE_TEST_CASE("lane_statistics: one lane that is not usable shows in no other", "", float, double) {
  using C = TestType;
  auto sums = sums_of<C>(8, 5, 0.5, 2);
  auto const all = lane_statistics<LayerNormPolicy, C>(sums, 8, C(1e-5));
  for (int bad = 0; bad < width<C>; ++bad) {
    auto some = sums;
    some.squares[bad] = std::numeric_limits<C>::quiet_NaN();
    auto const found = lane_statistics<LayerNormPolicy, C>(some, 8, C(1e-5));
    CHECK_FALSE(found.usable());
    for (int i = 0; i < width<C>; ++i) {
      if (i == bad) continue;
      CHECK((found.near & found.in_range)[i] != 0);
      CHECK(found.rstd[i] == all.rstd[i]);
      CHECK(found.mean_high[i] == all.mean_high[i]);
    }
  }
}
