// SPDX-License-Identifier: MIT
#include <foldnorm/losses/intl_loss.hpp>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "golden/golden.hpp"
#include "laws/differences.hpp"
#include "laws/inputs.hpp"
#include "whitening/instances.hpp"

namespace {

using namespace foldnorm;
using laws::normal;
using Views = std::vector<Matrix<double>>;

Views random_views(std::size_t count, Index features, Index samples, unsigned seed) {
  Views views;
  for (std::size_t i = 0; i < count; ++i) views.push_back(normal<double>(features, samples, seed + unsigned(i)));
  return views;
}

double difference(Matrix<double> const& a, Matrix<double> const& b) { return (a - b).cwiseAbs().maxCoeff(); }

// Gradients by every view against differences of the value.
template <class Loss>
void check_gradients(Views& views, Loss loss) {
  Views dviews(views.size());
  loss(views, dviews);
  for (std::size_t v = 0; v < views.size(); ++v) {
    double const size = 1 + dviews[v].cwiseAbs().maxCoeff();
    for (Index i = 0; i < views[v].size(); ++i) {
      double const expected = laws::partial(views[v].data()[i], [&] {
        Views unused(views.size());
        return loss(views, unused).value;
      });
      CHECK(std::abs(dviews[v].data()[i] - expected) <= 2e-9 * size);
    }
  }
}

}  // namespace

TEST_CASE("intl loss: golden vectors, both axes, every engine") {
  auto const& golden = golden::whitening();
  for (std::string const name : {"GV-10a", "GV-10b"}) {
    for (auto const engine : {IterNormEngine::newton, IterNormEngine::coupled, IterNormEngine::spectral}) {
      IntlOptions options{.trace_weight = golden.number(name + "/beta"), .engine = engine};
      options.iterations = static_cast<int>(golden.number(name + "/T"));
      options.variables = golden.number(name + "/axis") == 0 ? WhitenedVariables::samples : WhitenedVariables::features;
      Views const views{golden(name + "/Z0"), golden(name + "/Z1")};
      Views dviews(2);
      IntlValue const loss = intl_loss<double>(views, dviews, options);
      INFO(name << ", engine " << static_cast<int>(engine));
      CHECK(loss.status == WhiteningStatus::ok);
      CHECK(std::abs(loss.value - golden.number(name + "/L")) <= 1e-12);
      CHECK(std::abs(loss.alignment - golden.number(name + "/align")) <= 1e-12);
      double const trace = (golden.number(name + "/TL0") + golden.number(name + "/TL1")) / 2;
      CHECK(std::abs(loss.trace_loss - trace) <= 1e-12);
      CHECK(difference(dviews[0], golden(name + "/dL_dZ0")) <= 1e-12);
      CHECK(difference(dviews[1], golden(name + "/dL_dZ1")) <= 1e-12);
      CHECK(loss.trace_loss >= loss.trace_floor);
    }
  }
}

TEST_CASE("intl loss: gradients by two and three views, on both axes, and to a target") {
  for (auto const variables : {WhitenedVariables::samples, WhitenedVariables::features}) {
    IntlOptions const options{.trace_weight = .07, .variables = variables};
    for (std::size_t const count : {2u, 3u}) {
      Views views = random_views(count, variables == WhitenedVariables::samples ? 12 : 4, 7, 1301);
      check_gradients(views, [&](Views const& z, Views& dz) { return intl_loss<double>(z, dz, options); });
    }
    for (std::size_t const count : {1u, 2u}) {
      Views views = random_views(count, 9, 6, 1311);
      Matrix<double> const target = normal<double>(9, 6, 1321);
      check_gradients(views,
                      [&](Views const& z, Views& dz) { return intl_loss_to_target<double>(target, z, dz, options); });
    }
  }
}

TEST_CASE("intl loss: views that agree have no alignment loss, and a third one counts by half") {
  Views views = random_views(1, 20, 8, 1331);
  views.push_back(views[0]);
  Views dviews(2);
  IntlValue const same = intl_loss<double>(views, dviews, {.trace_weight = .04});
  CHECK(std::abs(same.alignment) <= 1e-14);
  CHECK(std::abs(same.value - .04 * 2 * same.trace_loss) <= 1e-12);
  views.push_back(normal<double>(20, 8, 1332));
  dviews.resize(3);
  Views pair{views[0], views[2]}, dpair(2);
  double const apart = intl_loss<double>(pair, dpair, {.trace_weight = .04}).alignment;
  CHECK(std::abs(intl_loss<double>(views, dviews, {.trace_weight = .04}).alignment - apart / 2) <= 1e-13);
}

TEST_CASE("intl loss: float follows double") {
  Views const views = random_views(2, 64, 16, 1341);
  Views dviews(2);
  double const value = intl_loss<double>(views, dviews, {.trace_weight = .04}).value;
  std::vector<Matrix<float>> const narrow{views[0].cast<float>(), views[1].cast<float>()};
  std::vector<Matrix<float>> dnarrow(2);
  CHECK(std::abs(intl_loss<float>(narrow, dnarrow, {.trace_weight = .04}).value - value) <= 1e-5);
  CHECK((dnarrow[0].cast<double>() - dviews[0]).norm() <= 1e-5 * dviews[0].norm());
  CHECK((dnarrow[1].cast<double>() - dviews[1]).norm() <= 1e-5 * dviews[1].norm());
}

TEST_CASE("intl loss: descending the trace loss evens the spectrum out") {
  Matrix<double> z = Vector<double>::LinSpaced(6, 1, 4).asDiagonal() * normal<double>(6, 40, 1351);
  IterNorm<double> const norm(6, {.covariance = {1, 0}}, {4});
  IterNorm<double>::Cache cache;
  Matrix<double> y(6, 40), dy(6, 40), dz(6, 40);
  auto const spread = [&] {
    Vector<double> const l =
        Eigen::SelfAdjointEigenSolver<Matrix<double>>(covariance(batch_statistics(z), {1, 0}), Eigen::EigenvaluesOnly)
            .eigenvalues();
    return l(5) / l(0);
  };
  double const floor = trace_loss_floor(6, 4), before = spread();
  double first = 0, last = 0;
  for (int step = 0; step < 2000; ++step) {
    norm.forward(z, y, cache);
    last = trace_loss<double>(y, dy);
    if (step == 0) first = last;
    REQUIRE(last >= floor - 1e-12);
    norm.backward(dy, cache, dz, none, none);
    z -= 20 * dz;
  }
  CHECK(first - floor > 1e-2);
  CHECK(last - floor < 1e-3 * (first - floor));
  CHECK(before > 10);
  CHECK(spread() < 1.2);
}

TEST_CASE("intl loss: bad views give a status, mistakes throw") {
  Views views = random_views(2, 10, 6, 1361);
  Views dviews{Matrix<double>::Constant(10, 6, 42), Matrix<double>::Constant(10, 6, 42)};
  IntlOptions const options{.trace_weight = .05};
  views[1](3, 3) = std::numeric_limits<double>::quiet_NaN();
  IntlValue const bad = intl_loss<double>(views, dviews, options);
  CHECK(bad.status == WhiteningStatus::not_finite);
  CHECK(std::isnan(bad.value));
  CHECK(dviews[0] == Matrix<double>::Constant(10, 6, 42));
  views[1].setConstant(1);
  CHECK(intl_loss<double>(views, dviews, options).status == WhiteningStatus::degenerate);
  CHECK(dviews[1] == Matrix<double>::Zero(10, 6));
  CHECK(dviews[0].allFinite());

  Views one = random_views(1, 10, 6, 1362), done(1);
  CHECK_THROWS_AS(intl_loss<double>(one, done, options), std::invalid_argument);
  CHECK_THROWS_AS(intl_loss<double>(views, done, options), std::invalid_argument);
  views[1].resize(10, 5);
  CHECK_THROWS_AS(intl_loss<double>(views, dviews, options), shape_error);
  CHECK_THROWS_AS(intl_loss_to_target<double>(Matrix<double>(3, 3), one, done, options), shape_error);
  CHECK_THROWS_AS(intl_loss_to_target<double>(one[0], one, done, {.trace_weight = std::nan("")}),
                  std::invalid_argument);
}

TEST_CASE("trace weight: the paper's rule, and no weight where it has none") {
  CHECK(std::abs(trace_weight(128) - .04) <= 1e-15);
  CHECK(std::abs(trace_weight(256) - .05) <= 1e-15);
  CHECK(std::abs(trace_weight(8192) - .10) <= 1e-15);
  for (Index const batch : {8, 4, 1, 0, -3}) CHECK_THROWS_AS(trace_weight(batch), std::invalid_argument);
}
