// SPDX-License-Identifier: MIT
// tests/graph/certificate_test.cpp -- the comparison of a model with its fold: it is small when it should, large too.
#include <foldnorm/graph/certificate.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <cmath>
#include <limits>
#include <string>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

char const* const model =
    "input x features=5\nlinear h x out=6 weight=W bias=b\nlayer_norm n h groups=2 gamma=g\nlinear k n out=4 weight=V\n"
    "layer_norm m k\nrms_norm r n\noutput y m\noutput z r\n";

Certificate certify_with(FoldReport const& report) {
  Graph const g = graph_of(model);
  Parameters const p = random_parameters(g, 3, 1);
  return certify(g, p, fold_norms(g, report, p), random_inputs(g, 3, 2));
}

}  // namespace

TEST_CASE("certificate: a correct fold differs by rounding, every output and every folded norm is listed") {
  Certificate const c = certify_with(find_foldable_norms(graph_of(model)));
  REQUIRE(c.outputs.size() == 2);
  CHECK(c.outputs[0].output == "y");
  CHECK(c.outputs[1].output == "z");
  CHECK(c.largest_difference() <= fold_tolerance);
  CHECK(c.largest_difference() > 0);
  REQUIRE(c.norms.size() == 2);  // r was an rms_norm before
  CHECK(c.norms[0].norm == "n");
  CHECK(c.norms[1].norm == "m");
  CHECK(c.norms[0].mean <= fold_tolerance);
  CHECK(c.norms[1].mean <= fold_tolerance);
}

TEST_CASE("certificate: in float a correct fold differs by float's rounding") {
  Graph const g = graph_of(model);
  Parameters const p = random_parameters(g, 3, 1);
  FoldedModel const folded = fold_norms(g, find_foldable_norms(g), p);
  NamedValues const in = random_inputs(g, 3, 2);
  Certificate const c = certify<float>(g, p, folded, in);
  CHECK(c.largest_difference() > certify(g, p, folded, in).largest_difference());
  CHECK(c.largest_difference() <= 1e-5);
  CHECK(c.norms.at(0).mean <= 1e-5);
}

TEST_CASE("certificate: a wrong fold shows, in the outputs and in the mean of the norm that it wrongs") {
  Certificate const c = certify_with(naive_report(graph_of(model), {"W", "b"}));  // V and the groups are forgotten
  CHECK(c.largest_difference() > visible_error);
  CHECK(c.norms[0].mean > visible_error);  // of a group, although the mean of all features is zero
  CHECK(c.norms[1].mean > visible_error);
}

TEST_CASE("certificate: absolute and relative differences are those of the definition") {
  Graph const before = graph_of("input x features=2\nscale s x by=2\noutput y s\n");
  Graph const after = graph_of("input x features=2\nscale s x by=3\noutput y s\n");
  Matrix<double> x(2, 2);
  x << 1, -2, 0, 5;
  Certificate const c = certify(before, {}, {after, {}}, {{"x", x}});
  CHECK(c.outputs.at(0).absolute == 5);    // |15 - 10|
  CHECK(c.outputs.at(0).relative == 0.5);  // of 10
  Certificate const zero = certify(before, {}, {after, {}}, {{"x", Matrix<double>::Zero(2, 2)}});
  CHECK(zero.outputs.at(0).relative == 0);
  Certificate const empty = certify(before, {}, {after, {}}, {{"x", Matrix<double>(2, 0)}});
  CHECK(empty.outputs.at(0).absolute == 0);
}

TEST_CASE("certificate: a NaN in any output is the largest difference, wherever it stands") {
  double const nan = std::numeric_limits<double>::quiet_NaN();
  for (std::size_t place = 0; place < 3; ++place) {
    Certificate c;
    c.outputs = {{"a", 0, 0.5}, {"b", 0, 0.25}, {"c", 0, 0.125}};
    CHECK(c.largest_difference() == 0.5);
    c.outputs[place].relative = nan;
    CHECK(std::isnan(c.largest_difference()));
  }
  // And a NaN among numbers makes an output's difference one.
  Graph const g = graph_of("input x features=2\noutput y x\n");
  Matrix<double> x = Matrix<double>::Ones(2, 3);
  x(1, 1) = nan;
  CHECK(std::isnan(certify(g, {}, {g, {}}, {{"x", x}}).largest_difference()));
  CHECK(Certificate{}.largest_difference() == 0);
}

TEST_CASE("certificate: models with other outputs cannot be compared") {
  Graph const a = graph_of("input x features=2\noutput y x\n");
  Graph const b = graph_of("input x features=2\noutput z x\n");
  NamedValues const in{{"x", Matrix<double>::Ones(2, 2)}};
  CHECK_THROWS_AS(certify(a, {}, {b, {}}, in), std::invalid_argument);
  CHECK_THROWS_WITH(certify(a, {}, {b, {}}, in), Contains("y"));
  // One output is there before the fold, the other one only behind it.
  Graph const both = graph_of("input x features=2\noutput y x\noutput z x\n");
  CHECK_THROWS_AS(certify(both, {}, {a, {}}, in), std::invalid_argument);
  CHECK_THROWS_AS(certify(a, {}, {both, {}}, in), std::invalid_argument);
}

TEST_CASE("certificate: a node that is no output does not pass for one") {
  Graph const a = graph_of("input x features=2\noutput y x\n");
  Graph const b = graph_of("input x features=2\nidentity y x\noutput z y\n");
  CHECK_THROWS_AS(certify(a, {}, {b, {}}, {{"x", Matrix<double>::Ones(2, 2)}}), std::invalid_argument);
}

TEST_CASE("certificate: other shapes of one output cannot be compared") {
  Graph const a = graph_of("input x features=2\noutput y x\n");
  Graph const b = graph_of("input x features=2\nmean_tokens m x\noutput y m\n");
  CHECK_THROWS_AS(certify(a, {}, {b, {}}, {{"x", Matrix<double>::Ones(2, 3)}}), std::invalid_argument);
}

TEST_CASE("certificate: an opaque node cannot be certified") {
  Graph const g = graph_of("input x features=2\nopaque o x features=2\noutput y o\n");
  CHECK_THROWS_WITH(certify(g, {}, {g, {}}, {{"x", Matrix<double>::Ones(2, 2)}}), Contains("opaque o"));
}

TEST_CASE("certificate: is printed as the difference and mean lines of the format") {
  Certificate c;
  c.outputs = {{"y", 0.25, 0.5}, {"z", 0, 0}};
  c.norms = {{"n", 1e-17}};
  CHECK(printed(c) == "difference y 0.25 0.5\ndifference z 0 0\nmean n 1e-17\n");
}
