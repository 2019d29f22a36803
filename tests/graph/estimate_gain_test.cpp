// SPDX-License-Identifier: MIT
// tests/graph/estimate_gain_test.cpp -- shares and gains of small networks, counted by hand from a table of costs.
#include <foldnorm/graph/estimate_gain.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>

#include "catch.hpp"
#include "graph/graph_testing.hpp"

#include <string>

using namespace foldnorm;
using foldnorm::testing::graph_of;
using foldnorm::testing::printed;

namespace {

// The same for every size: seconds a value, or a multiplication.
OperationCosts flat_costs() {
  OperationCosts costs({1}, {1});
  costs.table(CostKind::layer_norm).setConstant(10);
  costs.table(CostKind::bare_layer_norm).setConstant(9);
  costs.table(CostKind::rms_norm).setConstant(7);
  costs.table(CostKind::bare_rms_norm).setConstant(5);
  costs.table(CostKind::center).setConstant(4);
  costs.table(CostKind::pass).setConstant(1);
  costs.table(CostKind::smooth).setConstant(2);
  costs.table(CostKind::product).setConstant(0.5);
  return costs;
}

GainEstimate estimate(std::string const& text, FoldOptions const& options = {}, Index tokens = 3,
                      OperationCosts const& costs = flat_costs()) {
  Graph const graph = graph_of(text);
  return estimate_gain(graph, find_foldable_norms(graph, options), tokens, costs);
}

std::string const mlp_text =
    "input x features=6\n"
    "linear h x out=4 weight=W bias=b\n"
    "layer_norm n h gamma=g beta=c\n"
    "gelu a n\n"
    "linear l a out=2 weight=V\n"
    "output y l\n";

}  // namespace

TEST_CASE("estimate_gain: a network counted by hand") {
  GainEstimate const e = estimate(mlp_text);
  // Tokens 3. Products 4*6*3/2 and 2*4*3/2, a bias of 12 values, 12 values of norm at 10 and of gelu at 2.
  CHECK(e.forward_seconds == Approx(36 + 12 + 12 + 120 + 24));
  CHECK(e.norm_seconds == Approx(120));
  CHECK(e.ceiling_seconds == Approx(12 * 3));
  CHECK(e.saved_seconds == Approx(12 * 3));
  CHECK(e.added_seconds == 0);
  CHECK(e.share() == Approx(120.0 / 204));
  CHECK(e.gain() == Approx(36.0 / 204));
  CHECK(e.pays());
  CHECK(e.norms == 1);
  CHECK(e.folds == 1);
}

TEST_CASE("estimate_gain: what a node takes beside its operation dilutes the share, and saves nothing") {
  OperationCosts costs = flat_costs();
  costs.seconds_per_node = 100;
  GainEstimate const e = estimate(mlp_text, {}, 3, costs);
  CHECK(e.forward_seconds == Approx(204 + 4 * 100));  // input and output are names
  CHECK(e.norm_seconds == Approx(220));
  CHECK(e.saved_seconds == Approx(36));
}

TEST_CASE("estimate_gain: a norm that stays saves nothing but counts for the ceiling, and that is said") {
  GainEstimate const e =
      estimate("input x features=6\nlinear h x out=4 weight=W\nrelu a h\nlayer_norm n a gamma=g beta=c\noutput y n\n");
  CHECK(e.ceiling_seconds == Approx(12 * 3));
  CHECK(e.saved_seconds == 0);
  CHECK_FALSE(e.pays());
  CHECK(printed(e).find("It does not pay: no norm folds.") != std::string::npos);
}

TEST_CASE("estimate_gain: gammas and betas that move, in layer_norms that stay, too") {
  std::string const text =
      "input x features=4\nrelu a x\nlayer_norm n a gamma=g beta=c\nlinear h n out=4 weight=W\n"
      "layer_norm m h gamma=k beta=d\nlinear l m out=2 weight=V\noutput y l\n";
  CHECK(estimate(text).saved_seconds == Approx(12 * 3));
  GainEstimate const e = estimate(text, testing::moving_affine());
  CHECK(e.saved_seconds == Approx(12 * (1 + 5)));
  CHECK(e.ceiling_seconds == Approx(12 * (5 + 5)));
}

TEST_CASE("estimate_gain: a scale that becomes part of its linear layer is saved") {
  GainEstimate const e = estimate(
      "input x features=4\nlinear h x out=4 weight=W\nscale_channels s h value=v\nlayer_norm n s gamma=g beta=c\n"
      "output y n\n");
  CHECK(e.saved_seconds == Approx(12 * 3 + 12));
}

TEST_CASE("estimate_gain: an inserted centering and a corrected head are what a fold adds") {
  std::string const stream = "input x features=4\nrelu s x\n";
  std::string const norms = "layer_norm n s gamma=g beta=c\nlayer_norm m s gamma=k beta=d\nadd y n m\noutput z y\n";
  FoldOptions options;
  options.insert_centering = PlacementCosts{};
  GainEstimate const placed = estimate(stream + norms, options);
  CHECK(placed.insertions == 1);
  CHECK(placed.folds == 2);
  CHECK(placed.saved_seconds == Approx(2 * 12 * 3));
  CHECK(placed.added_seconds == Approx(12 * 4));

  options.tied = TiedTables::correct;
  GainEstimate const corrected = estimate(
      "ids t vocab=5\nembedding e t features=4 table=E\nlayer_norm n e gamma=g beta=c\nlinear h n out=5 weight=E\n"
      "output z h\n",
      options);
  CHECK(corrected.folds == 1);
  CHECK(corrected.added_seconds == Approx(12 * 0.5 + 15 * 0.5 + 15));
}

TEST_CASE("estimate_gain: grouped norms, attention, convolution") {
  // Two groups of 2 features are 6 samples of 2: as many values.
  CHECK(estimate("input x features=4\nlayer_norm n x groups=2\noutput y n\n").norm_seconds == Approx(12 * 9));
  // Two heads of 2 features over 3 tokens: twice (9*2/2 + 9*2 + 9*2/2).
  CHECK(estimate("input x features=4\nattention a x x x heads=2\noutput y a\n").forward_seconds == Approx(2 * 36));
  CHECK(estimate("input x features=4\nconv c x out=2 kernel=3 weight=W\noutput y c\n").forward_seconds ==
        Approx(2 * 12 * 3 * 0.5));
  // Depthwise: three passes over the values.
  CHECK(estimate("input x features=4\nconv c x out=4 kernel=3 groups=4 weight=W\noutput y c\n").forward_seconds ==
        Approx(3 * 12));
}

TEST_CASE("estimate_gain: what cannot be counted is an error, nothing to run is no share") {
  CHECK_THROWS_AS(estimate("input x features=4\nopaque o x features=4\noutput y o\n"), graph_error);
  GainEstimate const e = estimate("input x features=4\noutput y x\n");
  CHECK(e.share() == 0);
  CHECK(e.gain() == 0);
  CHECK_FALSE(e.pays());
}

TEST_CASE("estimate_gain: little gain is called little") {
  OperationCosts costs = flat_costs();
  costs.table(CostKind::product).setConstant(1e3);
  CHECK(printed(estimate(mlp_text, {}, 3, costs)).find("hardly pays") != std::string::npos);
}
