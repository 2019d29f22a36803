// SPDX-License-Identifier: MIT
// What ln_net_classifier promises. Every certificate is checked by running the network here.

#include <foldnorm/constructions/ln_net_classifier.hpp>
#include <foldnorm/constructions/nonlinearity.hpp>
#include <foldnorm/graph/describe.hpp>
#include <foldnorm/graph/evaluate.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "catch.hpp"
#include "constructions/labelled_samples.hpp"
#include "graph/instances.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;
using testing::alternating;
using testing::LabelledSamples;
using testing::random_labels;

// Column by column, by the chain of layers alone.
template <class Scalar>
std::vector<int> one_at_a_time(LnNetClassifier<Scalar> const& fit, Matrix<Scalar> const& x) {
  std::vector<int> labels;
  for (Index j = 0; j < x.cols(); ++j) labels.push_back(fit.predict(x.col(j)).front());
  return labels;
}

template <class Scalar>
void check_certified(LnNetClassifier<Scalar> const& fit, LabelledSamples const& data) {
  CAPTURE(std::string(to_string(fit.failure)));
  REQUIRE(fit.certified);
  Matrix<Scalar> const x = data.x.cast<Scalar>();
  CHECK(fit.predict(x) == data.labels);
  CHECK(fit.failure == LnNetFailure::nothing);
  CHECK(fit.margin > 0);
  CHECK(fit.network.in_features() == x.rows());
  CHECK(fit.network.out_features() == static_cast<Index>(fit.labels.size()));
  Index deepest = 0;
  for (LnNetChain const& chain : fit.chains) {
    CHECK(chain.layer_norms == std::max<Index>(1, chain.runs - 2) + chain.stretches + chain.compressions);
    deepest = std::max(deepest, chain.layer_norms);
  }
  CHECK(fit.layer_norms() == deepest);
}

// Every labelling of the points of a line up to complement. Returns how many needed more than runs - 2 layers.
int check_every_labelling(Matrix<double> const& x) {
  auto const m = static_cast<unsigned>(x.cols());
  int failures = 0, too_deep = 0, prepared = 0;
  for (unsigned labelling = 0; labelling < 1u << (m - 1); ++labelling) {
    std::vector<int> labels;
    for (unsigned j = 0; j < m; ++j) labels.push_back(static_cast<int>(labelling >> j & 1));
    auto const fit = ln_net_classifier(x, labels);
    failures += !(fit.certified && fit.predict(x) == labels);
    too_deep += fit.layer_norms() > static_cast<Index>(m) - 2;
    prepared += fit.chains[0].stretches + fit.chains[0].compressions > 0;
  }
  CHECK(failures == 0);
  CHECK(too_deep == 0);
  return prepared;
}

Matrix<double> random_line(Index m, std::uint64_t seed) { return random_labels(1, m, seed).x; }

}  // namespace

TEST_CASE("ln_net_classifier: every labelling of 3 to 11 equispaced points, with at most m - 2 LayerNorms") {
  for (Index m = 3; m <= 11; ++m) {
    CAPTURE(m);
    CHECK(check_every_labelling(alternating(m).x) == 0);
  }
}
TEST_CASE("ln_net_classifier: every labelling of 3 to 11 random points, with at most m - 2 LayerNorms") {
  for (Index m = 3; m <= 11; ++m) {
    CAPTURE(m);
    check_every_labelling(random_line(m, static_cast<std::uint64_t>(m)));
  }
}
TEST_CASE("ln_net_classifier: every labelling of 12 and 13 points", "[.long]") {
  for (Index const m : {12, 13}) {
    CAPTURE(m);
    check_every_labelling(alternating(m).x);
    WARN("m " << m << ": random points, labellings with a preparation: "
              << check_every_labelling(random_line(m, static_cast<std::uint64_t>(m))));
  }
}

TEST_CASE("ln_net_classifier: L LayerNorms shatter ln_net_vc_bound(L) points") {
  for (Index const layer_norms : {1, 4, 8}) check_every_labelling(alternating(ln_net_vc_bound(layer_norms)).x);
}

TEST_CASE("ln_net_classifier: random labels in double, in a batch and one at a time") {
  for (Index const m : {10, 100, 300}) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      CAPTURE(m, seed);
      LabelledSamples const data = random_labels(1, m, seed);
      auto const fit = ln_net_classifier(data.x, data.labels);
      check_certified(fit, data);
      CHECK(one_at_a_time(fit, data.x) == data.labels);
    }
  }
}

TEST_CASE("ln_net_classifier: a thousand alternating labels take exactly 998 LayerNorms") {
  LabelledSamples const data = alternating(1000);
  auto const fit = ln_net_classifier(data.x, data.labels);
  check_certified(fit, data);
  CHECK(one_at_a_time(fit, data.x) == data.labels);  // takes planning with the rounding that folds spread
  CHECK(fit.chains[0].runs == 1000);
  CHECK(fit.layer_norms() == 998);
}

TEST_CASE("ln_net_classifier: a norm with an eps, and weights scaled by kappa") {
  LabelledSamples const data = random_labels(1, 200, 3);
  for (double const kappa : {1e4, 0x1p20, 1e10}) {
    CAPTURE(kappa);
    auto const fit = ln_net_classifier(data.x, data.labels, {.eps = 1e-5, .kappa = kappa});
    check_certified(fit, data);
    CHECK(std::get<LayerNorm<double>>(fit.network.layers()[1]).options().eps == 1e-5);
  }
}

TEST_CASE("ln_net_classifier: a thousand samples of 784 features with random labels") {
  LabelledSamples data = random_labels(784, 1000, 5);
  data.x.row(0).setConstant(3);  // as the corner of an image
  data.x.row(1) *= 1e3;
  auto const fit = ln_net_classifier(data.x, data.labels);
  check_certified(fit, data);
  std::vector<int> const first(data.labels.begin(), data.labels.begin() + 20);
  CHECK(one_at_a_time<double>(fit, data.x.leftCols(20)) == first);
}

TEST_CASE("ln_net_classifier: K classes by ceil(log2 K) chains in one network, labels of any value") {
  for (int const classes : {3, 5, 10}) {
    for (double const eps : {0.0, 1e-5}) {
      CAPTURE(classes, eps);
      LabelledSamples data = random_labels(2, 80, 7, classes);
      for (int& label : data.labels) label = 100 - 7 * label;
      auto const fit = ln_net_classifier(data.x, data.labels, {.eps = eps});
      check_certified(fit, data);
      CHECK(one_at_a_time(fit, data.x) == data.labels);
      CHECK(std::is_sorted(fit.labels.begin(), fit.labels.end()));
      auto const bits = static_cast<Index>(std::ceil(std::log2(classes)));
      CHECK(static_cast<Index>(fit.chains.size()) == bits);
      auto const& norm = std::get<ParallelLayerNorm<double>>(fit.network.layers()[1]);
      CHECK(norm.in_features() == 3 * bits);
      CHECK(norm.norm_size() == 3);
    }
  }
}

TEST_CASE("ln_net_classifier: one class, one sample, two samples, and repeated samples of one label") {
  LabelledSamples const cases[] = {{Matrix<double>{{4}}, {7}},
                                   {Matrix<double>{{4, 5, 5}}, {7, 7, 7}},
                                   {Matrix<double>{{1, 2}}, {-1, 1}},
                                   {Matrix<double>{{1, 1, 2, 2, 3, 3}}, {0, 0, 1, 1, 0, 0}},
                                   {Matrix<double>{{1e8, 1e8 + 1, 1e8 + 2, 1e8 + 3, 1e8 + 4}}, {0, 1, 0, 1, 0}},
                                   {Matrix<double>{{1e-200, 2e-200, 3e-200, 4e-200}}, {0, 1, 0, 1}}};
  for (LabelledSamples const& data : cases) {
    CAPTURE(data.x);
    auto const fit = ln_net_classifier(data.x, data.labels);
    REQUIRE(fit.certified);
    CHECK(fit.predict(data.x) == data.labels);
  }
}

TEST_CASE("ln_net_classifier: equal samples with different labels are reported, and there is no network") {
  LabelledSamples data = random_labels(3, 30, 9);
  data.x.col(21) = data.x.col(4);
  data.labels[4] = 0;
  data.labels[21] = 1;
  auto const fit = ln_net_classifier(data.x, data.labels);
  CHECK_FALSE(fit.certified);
  CHECK(fit.failure == LnNetFailure::equal_samples_differ);
  CHECK(fit.equal_samples == std::pair<Index, Index>(4, 21));
  CHECK(fit.network.layers().empty());
  CHECK_THROWS_AS(fit.predict(data.x), std::invalid_argument);
  data.labels[21] = 0;
  check_certified(ln_net_classifier(data.x, data.labels), data);
}

TEST_CASE("ln_net_classifier<float>: certified for 10 and 20 samples, and honest beyond its precision") {
  for (Index const m : {10, 20, 100}) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      CAPTURE(m, seed);
      LabelledSamples const data = random_labels(1, m, seed);
      auto const fit = ln_net_classifier<float>(data.x, data.labels);
      check_certified(fit, data);
      CHECK(one_at_a_time<float>(fit, data.x.cast<float>()) == data.labels);
    }
  }
  auto const equal = ln_net_classifier<float>(Matrix<double>{{1, 1 + 1e-12}}, {0, 1});  // one float
  CHECK(equal.failure == LnNetFailure::equal_samples_differ);
  // Distinct floats, whose neighbours in the thousands are closer than the range's last bits after a fold or two.
  LabelledSamples data = random_labels(1, 2000, 1);
  for (Index j = 0; j < data.x.cols(); ++j)
    data.x(j) = std::ldexp(1 + static_cast<double>(j % 50) * 0x1p-20, static_cast<int>(j / 50));
  auto const fit = ln_net_classifier<float>(data.x, data.labels, {.attempts = 2});
  CHECK_FALSE(fit.certified);
  CHECK(fit.failure != LnNetFailure::nothing);
  CHECK(fit.failure != LnNetFailure::equal_samples_differ);
  CHECK(fit.network.layers().empty());
  REQUIRE(fit.chains.size() == 1);
  CHECK(fit.chains[0].attempts == 2);
}

TEST_CASE("ln_net_classifier: the network's layer graph, run by the interpreter, classifies the same") {
  LabelledSamples const data = random_labels(2, 60, 13, 3);
  auto const fit = ln_net_classifier(data.x, data.labels);
  check_certified(fit, data);
  DescribedNetwork const described = describe(fit.network);
  Matrix<double> const logits = evaluate(described.graph, described.parameters, {{"x", data.x}}).at("y");
  REQUIRE(logits.rows() == 3);
  for (Index j = 0; j < logits.cols(); ++j) {
    Index k = 0;
    logits.col(j).maxCoeff(&k);
    CHECK(fit.labels[static_cast<std::size_t>(k)] == data.labels[static_cast<std::size_t>(j)]);
  }
}

TEST_CASE("ln_net_classifier: the same seed gives the same network; directions are drawn for fewer runs") {
  LabelledSamples const data = random_labels(5, 60, 17);
  auto const one = ln_net_classifier(data.x, data.labels, {.directions = 1});
  auto const many = ln_net_classifier(data.x, data.labels), again = ln_net_classifier(data.x, data.labels);
  check_certified(one, data);
  check_certified(many, data);
  CHECK(many.chains[0].runs < one.chains[0].runs);
  CHECK(many.network.forward(data.x) == again.network.forward(data.x));
}

TEST_CASE("ln_net_classifier refuses bad arguments") {
  LabelledSamples const data = random_labels(2, 10, 19);
  auto const fit = [&](LnNetOptions const& options) { return ln_net_classifier(data.x, data.labels, options); };
  CHECK_THROWS_AS(ln_net_classifier(data.x, {0, 1}), shape_error);
  CHECK_THROWS_AS(ln_net_classifier(Matrix<double>(2, 0), {}), std::invalid_argument);
  CHECK_THROWS_AS(ln_net_classifier(Matrix<double>(0, 3), {1, 2, 3}), std::invalid_argument);
  CHECK_THROWS_AS(fit({.eps = -1}), std::invalid_argument);
  CHECK_THROWS_AS(fit({.kappa = 0}), std::invalid_argument);
  CHECK_THROWS_AS(fit({.directions = 0}), std::invalid_argument);
  CHECK_THROWS_AS(fit({.attempts = 0}), std::invalid_argument);
  for (double const bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Matrix<double> x = data.x;
    x(1, 3) = bad;
    CHECK_THROWS_AS(ln_net_classifier(x, data.labels), std::invalid_argument);
  }
  Matrix<double> const large = 1e300 * data.x;
  CHECK_THROWS_AS(ln_net_classifier<float>(large, data.labels), std::invalid_argument);
}

TEST_CASE("ln_net_failure: every failure has words of its own") {
  std::set<std::string_view> words;
  auto const last = static_cast<int>(LnNetFailure::sample_misclassified);
  for (int failure = 0; failure <= last; ++failure) words.insert(to_string(static_cast<LnNetFailure>(failure)));
  CHECK(words.size() == static_cast<std::size_t>(last) + 1);
  CHECK_FALSE(words.contains(""));
}
