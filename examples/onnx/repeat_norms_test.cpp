// SPDX-License-Identifier: MIT
// onnx/repeat_norms_test.cpp -- norms that are repeated are computed, one behind the other.
#include "onnx/repeat_norms.hpp"

#include "catch.hpp"
#include "graph/graph_testing.hpp"
#include "onnx/run_model.hpp"

#include <foldnorm/onnx/write_model.hpp>

#include <string>

using namespace foldnorm;

TEST_CASE("repeat_norms: every norm is followed by more with its gamma, beta and eps") {
  Graph const once = testing::graph_of(
      "input x features=6\nlayer_norm a x gamma=g beta=b\nrelu r a\nrms_norm c r gamma=g eps=0.01\noutput y c\n");
  Graph const thrice = testing::graph_of(
      "input x features=6\nlayer_norm a1 x gamma=g beta=b\nlayer_norm a2 a1 gamma=g beta=b\nlayer_norm a a2 gamma=g "
      "beta=b\nrelu r a\nrms_norm c1 r gamma=g eps=0.01\nrms_norm c2 c1 gamma=g eps=0.01\nrms_norm c c2 gamma=g "
      "eps=0.01\noutput y c\n");
  Parameters const parameters = random_parameters(once, 3, 1);
  onnx::ModelProto model = onnx_model(once, parameters, {OnnxTarget::onnxruntime, 3});
  CHECK(onnx_models::repeat_norms(*model.mutable_graph(), 2) == 2);
  CHECK(model.graph().node_size() == 4 + 4);
  if (!testing::has_onnx_runtime()) return;
  NamedValues const inputs = random_inputs(once, 3, 2);
  CHECK(testing::relative_error(testing::run_model(model, inputs), evaluate(thrice, parameters, inputs)) <= 1e-5);
}

TEST_CASE("repeat_norms: a norm in primitives is not recognised, and nothing changes") {
  Graph const graph = testing::graph_of("input x features=6\nrms_norm a x\noutput y a\n");
  onnx::ModelProto model = onnx_model(graph, {});
  std::string const before = model.SerializeAsString();
  CHECK(onnx_models::repeat_norms(*model.mutable_graph(), 2) == 0);
  CHECK(model.SerializeAsString() == before);
}
