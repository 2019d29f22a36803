// SPDX-License-Identifier: MIT
// onnx/gain_test.cpp -- what fold_onnx says of times, and that it takes them.
#include "onnx/gain.hpp"

#include "catch.hpp"
#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"
#include "onnx/run_model.hpp"

#include <foldnorm/onnx/write_model.hpp>

#include <sstream>
#include <string>

using namespace foldnorm;
using namespace foldnorm::onnx_models;
using foldnorm::testing::Contains;

namespace {

// A fold that takes this part of the time, on a machine on which a copy takes up to 1 % more or less.
std::string words(double part, double share = 0.1, int folded_norms = 2) {
  FoldGain gain;
  gain.timing.seconds = 1e-3;
  gain.timing.share = share;
  gain.timing.control = {0.99, 1, 1.01};
  gain.timing.folds = {{{part - 0.01, part, part + 0.01}, 0.05}};
  gain.norms = 2;
  gain.folded_norms = folded_norms;
  std::ostringstream out;
  print_gain(out, gain);
  return out.str();
}

}  // namespace

TEST_CASE("print_gain: says plainly what a fold brings") {
  if (!testing::has_onnx_runtime()) return;  // its version is printed
  CHECK_THAT(words(0.9), Contains("time 1000 us") && Contains("norms take 10 %") && Contains("ceiling 5 %") &&
                             Contains("gain 10 % (quartiles 9 .. 11; of an unchanged copy -1 .. 1)") &&
                             !Contains("This fold") && !Contains("An unchanged copy"));
  CHECK_THAT(words(0.985), Contains("This fold gains less than 2 %"));
  CHECK_THAT(words(1.005), Contains("This fold gains less than 2 %"));
  CHECK_THAT(words(1.1), Contains("gain -10 %") && Contains("This fold makes the model slower"));
  CHECK_THAT(words(0.9, 1.2), Contains("norms take an unknown share") && !Contains("ceiling"));
  CHECK_THAT(words(0.9, 0.1, 0), Contains("norms take 10 %") && !Contains("ceiling"));
}

TEST_CASE("time_fold: times both models, and finds norms that are written out") {
  if (!testing::has_onnx_runtime()) return;
  Graph const graph = testing::graph_of(R"(
    input x features=16
    linear a x out=16 weight=A bias=a0
    layer_norm n a gamma=g beta=c
    relu r n
    linear b r out=16 weight=B
    output y b
  )");
  Parameters const parameters = random_parameters(graph, 4, 1);
  FoldedModel const folded = fold_norms(graph, find_foldable_norms(graph), parameters);
  onnx::ModelProto const before = onnx_model(graph, parameters);
  onnx::ModelProto const after = onnx_model(folded.graph, folded.parameters, {OnnxTarget::onnx});
  FoldGain const gain = time_fold({before, "."}, {after, "."}, {});
  CHECK(gain.norms == 1);
  CHECK(gain.folded_norms == 1);
  CHECK(gain.timing.seconds > 0);
  CHECK(gain.timing.folds.size() == 1);
}
