// SPDX-License-Identifier: MIT
// The pieces of the LN-Net construction, each against its formula.

#include <foldnorm/constructions/detail/chord.hpp>
#include <foldnorm/constructions/detail/fold_planner.hpp>
#include <foldnorm/constructions/detail/soft_fold.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "catch.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;
using detail::SoftFold;

double uniform(std::mt19937_64& random, double low, double high) {
  return low + (high - low) * static_cast<double>(random() >> 11) * 0x1p-53;
}

Matrix<double> after_norm(Linear<double> const& linear, Matrix<double> const& x, double eps = 0) {
  Matrix<double> h(3, x.cols()), y(3, x.cols());
  linear.forward(x, h);
  LayerNorm<double>(3, {.eps = eps, .affine = false, .accuracy = Accuracy::accurate}).forward(h, y);
  return y;
}

detail::Bits bits(std::vector<int> const& values) { return {values.begin(), values.end()}; }

}  // namespace

TEST_CASE("LN-Net: two layers of width 3 compute alpha (x - c) + gamma sqrt((x - c)^2 + w^2), to 1e-13") {
  std::mt19937_64 random(1);
  for (int draw = 0; draw < 200; ++draw) {
    CAPTURE(draw);
    auto const fold = [&] {
      double const alpha = uniform(random, -2, 2), gamma = uniform(random, -2, 2);
      return SoftFold{alpha, gamma, uniform(random, -3, 3), std::exp(uniform(random, -3, 1))};
    };
    SoftFold const first = fold(), second = fold();
    double const kappa = draw % 2 ? 1 : 1000;
    detail::Projection const line{Vector<double>::Constant(1, uniform(random, .5, 2)), uniform(random, -1, 1)};
    Matrix<double> const q = Matrix<double>::NullaryExpr(1, 50, [&] { return uniform(random, -3, 3); });
    Matrix<double> const y = after_norm(detail::first_layer<double>(line, first, kappa), q);
    Vector<double> x1, x2;
    REQUIRE(detail::read_line(y, first, x1));
    REQUIRE(detail::read_line(after_norm(detail::next_layer<double>(first, second, kappa), y), second, x2));
    for (Index j = 0; j < q.cols(); ++j) {
      double const x = line.weight(0) * q(j) + line.shift, once = first(x);
      double const rho = std::hypot(x - first.c, first.w);
      CHECK(std::abs(x1(j) - once) <= 1e-13 * std::max(1.0, rho));
      // The next map stretches what the first has rounded by up to |alpha| + |gamma| <= 4.
      CHECK(std::abs(x2(j) - second(once)) <= 4e-13 * std::max({1.0, rho, std::abs(once)}));
    }
  }
}

TEST_CASE("LN-Net: a point at distance x from a corner of width w is known to u x, not u x^2 / w") {
  // The samples lie at 1 and differ in their last bits; the corner, at 0, is 1e-9 wide.
  Index const m = 64;
  Matrix<double> q(1, m);
  for (Index j = 0; j < m; ++j) q(j) = 1 + static_cast<double>(j) * 0x1p-50;
  SoftFold const narrow{1, 0, 0, 1e-9};
  Vector<double> x;
  REQUIRE(detail::read_line(after_norm(detail::first_layer<double>({Vector<double>::Ones(1), 0}, narrow, 1), q), narrow,
                            x));
  CHECK((x.transpose() - q).cwiseAbs().maxCoeff() <= 8 * 0x1p-53);  // the row, the norm's y, the quotient
}

TEST_CASE("LN-Net: the padding layer and its norm keep a state; with an eps it stays within eps / kappa^2") {
  std::mt19937_64 random(2);
  Matrix<double> const q = Matrix<double>::NullaryExpr(1, 100, [&] { return uniform(random, -10, 10); });
  Matrix<double> const state =
      after_norm(detail::first_layer<double>({Vector<double>::Ones(1), 0}, {1, 0, 0, .5}, 1), q);
  Matrix<double> padded = state;
  for (int k = 0; k < 100; ++k) padded = after_norm(detail::padding_layer<double>(1), padded);
  CHECK((padded - state).cwiseAbs().maxCoeff() <= 100 * 4 * 0x1p-53);
  double const kappa = 1e4, eps = 1e-5;
  padded = after_norm(detail::padding_layer<double>(kappa), state, eps);
  CHECK((padded - state).cwiseAbs().maxCoeff() <= 1.5 * eps / (kappa * kappa) * 20 + 8 * 0x1p-53);
}

TEST_CASE("LN-Net: the left fold has slopes -lambda and 1 and its lowest point where the planner expects it") {
  for (double const lambda : {.01, .5, 1.0, 7.0, 32.0}) {
    double const c = .3, w = .2;
    SoftFold const fold = detail::left_fold(lambda, c, w);
    double const lowest = c + w * (lambda - 1) / (2 * std::sqrt(lambda));
    CAPTURE(lambda);
    CHECK(fold(lowest) == Approx(w * std::sqrt(lambda)).epsilon(1e-13));
    for (double const d : {-.01, .01}) CHECK(fold(lowest + d) > fold(lowest));
    CHECK(fold(c + 2e6) - fold(c + 1e6) == Approx(1e6).epsilon(1e-9));
    CHECK(fold(c - 2e6) - fold(c - 1e6) == Approx(lambda * 1e6).epsilon(1e-9));
    SoftFold const right = detail::mirrored(fold);
    for (double const x : {-2., -.3, 0., .5, 4.}) CHECK(right(x) == Approx(-fold(-x)).epsilon(1e-14));
  }
}

TEST_CASE("LN-Net: a planned fold of either end merges the runs it says, in the order it says") {
  std::mt19937_64 random(3);
  int folds[2] = {0, 0};
  for (int draw = 0; draw < 500; ++draw) {
    CAPTURE(draw);
    Vector<double> x = Vector<double>::NullaryExpr(40, [&] { return uniform(random, 0, 1); });
    detail::Bits labels;
    for (Index j = 0; j < x.size(); ++j) labels.push_back(static_cast<char>(random() >> 63));
    detail::Runs runs;
    REQUIRE(runs.form(x, labels));
    std::size_t const before = runs.size();
    if (before < 4) continue;
    auto const step = detail::plan_step(runs, {.width_floor = 1e-8, .least_score = .2});
    if (!step || step->kind != detail::StepKind::fold) continue;
    ++folds[step->end == detail::End::right];
    for (double& point : x) point = step->map(point);
    runs.merge(step->end);
    REQUIRE(runs.update(x, labels));
    detail::Runs anew;
    REQUIRE(anew.form(x, labels));
    REQUIRE(runs.size() == before - 1);
    REQUIRE(anew.size() == before - 1);  // sorting finds what merging says
    for (std::size_t i = 0; i < runs.size(); ++i) {
      CHECK(runs[i].low == anew[i].low);
      CHECK(runs[i].high == anew[i].high);
      CHECK(runs[i].begin == anew[i].begin);
      CHECK(runs.bit_of(i, labels) == anew.bit_of(i, labels));
    }
  }
  CHECK(folds[0] > 20);
  CHECK(folds[1] > 20);
}

TEST_CASE("LN-Net: points out of order are sorted anew, and equal points of different bits are refused") {
  detail::Runs runs;
  Vector<double> x(6);
  x << 0, 1, 2, 3, 4, 5;
  detail::Bits const labels = bits({0, 1, 1, 0, 0, 1});
  REQUIRE(runs.form(x, labels));
  CHECK(runs.size() == 4);
  CHECK(runs.smallest_gap() == 1);
  x << 0, 1, 2, 3, 4, .5;  // the last run has come to lie before the second, and joins it
  REQUIRE(runs.update(x, labels));
  CHECK(runs.size() == 3);
  x(3) = 2;
  CHECK_FALSE(runs.update(x, labels));
  x(3) = std::nan("");
  CHECK_FALSE(runs.update(x, labels));
}

TEST_CASE("LN-Net: the chord separates one, two and three runs, whichever bit comes first") {
  std::vector<std::vector<int>> const patterns{{0, 0, 0, 0, 0, 0}, {0, 0, 1, 1, 1, 1}, {0, 1, 1, 1, 0, 0}};
  Vector<double> t(6);
  t << -40, -1, -.5, 0, .1, 3;
  for (auto pattern : patterns) {
    for (int const flip : {0, 1}) {
      for (int& bit : pattern) bit ^= flip;
      detail::Runs runs;
      REQUIRE(runs.form(t, bits(pattern)));
      detail::Readout const cut = detail::chord(runs, bits(pattern));
      for (Index j = 0; j < t.size(); ++j) {
        double const c = 1 / std::hypot(1, t(j)), s = t(j) * c;
        Eigen::Vector3d const y = std::sqrt(3.0) * (s * Eigen::Vector3d(1, -1, 0) / std::sqrt(2.0) +
                                                    c * Eigen::Vector3d(1, 1, -2) / std::sqrt(6.0));
        CHECK((cut.weight.dot(y) + cut.bias > 0) == (pattern[static_cast<std::size_t>(j)] == 1));
      }
    }
  }
}
