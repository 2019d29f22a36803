// SPDX-License-Identifier: MIT
// tests/onnx/write_model_test.cpp -- a layer graph as an ONNX model: what it says, and what ONNX Runtime computes from
// it.
#include "onnx/run_model.hpp"

#include "architectures/catalogue.hpp"
#include "catch.hpp"
#include "graph/graph_testing.hpp"
#include "graph/random_graph.hpp"
#include "safetensors/safetensors_testing.hpp"

#include <foldnorm/onnx/write_model.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

using namespace foldnorm;

namespace {

// Some hundred layers of sums of some ten products in float; a wrong value is wrong by its size.
constexpr double onnx_tolerance = 1e-5;

onnx::TensorProto const* initializer_named(onnx::ModelProto const& model, std::string const& name) {
  for (onnx::TensorProto const& tensor : model.graph().initializer()) {
    if (tensor.name() == name) return &tensor;
  }
  return nullptr;
}

std::vector<std::string> operations_of(onnx::ModelProto const& model) {
  std::vector<std::string> operations;
  for (onnx::NodeProto const& node : model.graph().node()) operations.push_back(node.op_type());
  return operations;
}

std::vector<std::int64_t> sizes_of(onnx::TensorProto const& tensor) {
  return {tensor.dims().begin(), tensor.dims().end()};
}

std::vector<float> floats_of(onnx::TensorProto const& tensor) {
  std::vector<float> values(tensor.raw_data().size() / sizeof(float));
  std::memcpy(values.data(), tensor.raw_data().data(), tensor.raw_data().size());
  return values;
}

}  // namespace

TEST_CASE("onnx_model: values have their nodes' names, initializers their parameters', rows are samples") {
  Graph graph;
  NodeId const x = graph.input("x", 3);
  graph.output("y", graph.layer_norm("norm", graph.linear("fc", x, 2, "W", "b"), "gamma", "beta", {0.25, 1}));
  Parameters parameters = random_parameters(graph, 1, 1);
  parameters.set("W", Matrix<double>{{1, 2, 3}, {4, 5, 6}});
  onnx::ModelProto const model = onnx_model(graph, parameters);

  REQUIRE(operations_of(model) == std::vector<std::string>{"Gemm", "LayerNormalization", "Identity"});
  CHECK(model.graph().node(0).output(0) == "fc");
  CHECK(model.graph().node(0).input(1) == "W");
  CHECK(model.graph().node(1).input(2) == "beta");
  CHECK(model.graph().node(2).output(0) == "y");
  CHECK(model.opset_import(0).version() == 17);
  onnx::TensorProto const* const weight = initializer_named(model, "W");
  REQUIRE(weight);
  CHECK(sizes_of(*weight) == std::vector<std::int64_t>{3, 2});  // in x out
  CHECK(floats_of(*weight) == std::vector<float>{1, 4, 2, 5, 3, 6});
  for (onnx::AttributeProto const& attribute : model.graph().node(1).attribute()) {
    if (attribute.name() == "epsilon") CHECK(attribute.f() == 0.25F);
  }
  auto const& shape = model.graph().input(0).type().tensor_type().shape();
  CHECK(shape.dim(0).dim_param() == "x:tokens");
  CHECK(shape.dim(1).dim_value() == 3);
}

TEST_CASE("onnx_model: tokens may be fixed, those of outputs follow") {
  Graph const graph = testing::graph_of(
      "input x features=3\nmerge_tokens m x ratio=2\noutput y m\nmean_tokens mean x\noutput z mean\n");
  onnx::ModelProto const model = onnx_model(graph, {}, {OnnxTarget::onnx, 6});
  CHECK(model.graph().input(0).type().tensor_type().shape().dim(0).dim_value() == 6);
  CHECK(model.graph().output(0).type().tensor_type().shape().dim(0).dim_value() == 3);
  CHECK(model.graph().output(1).type().tensor_type().shape().dim(0).dim_value() == 1);
  CHECK_THROWS_AS(onnx_model(graph, {}, {OnnxTarget::onnx, 5}), graph_error);
}

TEST_CASE("onnx_model: an RMSNorm is ONNX Runtime's own operator for it, and primitives for all others") {
  Graph const graph = testing::graph_of("input x features=4\nrms_norm n x gamma=g beta=b\noutput y n\n");
  Parameters const parameters = random_parameters(graph, 1, 1);
  CHECK(operations_of(onnx_model(graph, parameters, {OnnxTarget::onnxruntime})) ==
        std::vector<std::string>{"SimplifiedLayerNormalization", "Add", "Identity"});
  CHECK(operations_of(onnx_model(graph, parameters)) ==
        std::vector<std::string>{"Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add", "Identity"});
  // Without a gamma, too, so that ONNX Runtime makes its operator of them.
  Graph const plain = testing::graph_of("input x features=4\nrms_norm n x\noutput y n\n");
  CHECK(operations_of(onnx_model(plain, {})) ==
        std::vector<std::string>{"Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Identity"});
}

TEST_CASE("onnx_model: for ONNX Runtime, a folded norm that keeps its beta is a LayerNormalization if asked for") {
  Graph const graph = testing::graph_of(
      "input x features=4\nlinear l x out=6 weight=W bias=c\nlayer_norm n l gamma=g beta=b\nrelu r n\nlinear m r out=6 "
      "weight=V\nlayer_norm o m gamma=h\nrelu s o\nrms_norm p s beta=b\noutput y p\n");
  Parameters const parameters = random_parameters(graph, 3, 1);
  FoldReport const report = find_foldable_norms(graph);
  FoldedModel const folded = fold_norms(graph, report, parameters);
  OnnxOptions options{OnnxTarget::onnxruntime, 3, folded_norms(report)};
  onnx::ModelProto const model = onnx_model(folded.graph, folded.parameters, options);
  // n has a beta, o has none, and of p's input nobody knows the mean.
  CHECK(operations_of(model) == std::vector<std::string>{"Gemm", "LayerNormalization", "Relu", "Gemm",
                                                         "SimplifiedLayerNormalization", "Relu",
                                                         "SimplifiedLayerNormalization", "Add", "Identity"});
  if (!testing::has_onnx_runtime()) return;
  NamedValues const inputs = random_inputs(graph, 3, 2);
  CHECK(testing::relative_error(testing::run_model(model, inputs), evaluate(graph, parameters, inputs)) <=
        onnx_tolerance);
}

TEST_CASE("onnx_model: a tied table is one initializer, and so is every shared parameter") {
  Graph const graph = testing::graph_of(
      "ids words vocab=7\nembedding e words features=4 table=T\nlayer_norm n e gamma=g\nlayer_norm m n gamma=g\n"
      "linear head m out=7 weight=T\noutput y head\n");
  onnx::ModelProto const model = onnx_model(graph, random_parameters(graph, 3, 1));
  std::ptrdiff_t tables = 0, gammas = 0;
  for (onnx::TensorProto const& tensor : model.graph().initializer()) {
    tables += tensor.dims_size() == 2;
    gammas += tensor.name() == "g";
  }
  CHECK(tables == 1);
  CHECK(gammas == 1);
}

TEST_CASE("onnx_model: a parameter with a node's name, or in two shapes, gets another name") {
  // "a" is a node and a vector; "v" a bias and the weight of a layer with one input.
  Graph const graph = testing::graph_of(
      "input x features=1\nlinear l x out=3 weight=v bias=v\nadd_parameter a l value=a\noutput y a\n");
  Parameters const parameters = random_parameters(graph, 2, 1);
  onnx::ModelProto const model = onnx_model(graph, parameters);
  CHECK(initializer_named(model, "v"));
  CHECK(initializer_named(model, "v::3"));
  CHECK(initializer_named(model, "a::3"));
  if (!testing::has_onnx_runtime()) return;
  NamedValues const inputs = random_inputs(graph, 2, 2);
  CHECK(testing::relative_error(testing::run_model(model, inputs), evaluate(graph, parameters, inputs)) <=
        onnx_tolerance);
}

TEST_CASE("onnx_model: refuses what has no form in ONNX, and parameters that are missing or of another size") {
  Graph graph;
  NodeId const x = graph.input("x", 3);
  graph.output("y", graph.linear("fc", x, 2, "W"));
  CHECK_THROWS_WITH(onnx_model(graph, {}), "linear fc: there is no parameter W");
  Parameters parameters;
  parameters.set("W", Matrix<double>::Zero(3, 2));
  CHECK_THROWS_WITH(onnx_model(graph, parameters), "linear fc: W is 3x2, expected 2x3");
  parameters.set("W", Matrix<double>::Zero(2, 3));
  CHECK_NOTHROW(onnx_model(graph, parameters));
  graph.output("z", graph.opaque("box", {x}, 3));
  CHECK_THROWS_WITH(onnx_model(graph, parameters), "opaque box: has no form in ONNX");
}

TEST_CASE("onnx_model: the catalogue's networks, original and folded, compute what evaluate does") {
  bool const has_runtime = testing::has_onnx_runtime();
  for (architectures::Architecture const& architecture : architectures::catalogue()) {
    CAPTURE(architecture.name);
    Index const tokens = architectures::narrow_tokens;
    Graph const graph = architecture.build(architectures::Scale::narrow);
    Parameters const parameters = random_parameters(graph, tokens, 1);
    NamedValues const inputs = random_inputs(graph, tokens, 2);
    NamedValues const expected = evaluate(graph, parameters, inputs);
    FoldOptions options;
    if (architecture.tied) options.tied = TiedTables::untie;
    options.insert_centering = PlacementCosts{};
    FoldedModel const folded = fold_norms(graph, find_foldable_norms(graph, options), parameters);
    for (OnnxTarget const target : {OnnxTarget::onnx, OnnxTarget::onnxruntime}) {
      CAPTURE(target == OnnxTarget::onnx);
      onnx::ModelProto const before = onnx_model(graph, parameters, {target});
      onnx::ModelProto const after = onnx_model(folded.graph, folded.parameters, {target, tokens});
      for (onnx::ModelProto const& model : {before, after}) {
        CHECK(testing::relative_error(testing::interpret_model(model, inputs), expected) <= onnx_tolerance);
        if (!has_runtime) continue;
        CHECK(testing::relative_error(testing::run_model(model, inputs), expected) <= onnx_tolerance);
      }
    }
  }
}

TEST_CASE("onnx_model: random graphs of all operators compute what evaluate does") {
  bool const has_runtime = testing::has_onnx_runtime();
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    auto const [graph, tokens] = fuzz::random_graph(seed);
    Parameters const parameters = random_parameters(graph, tokens, seed);
    NamedValues const inputs = random_inputs(graph, tokens, seed + 1);
    NamedValues const expected = evaluate(graph, parameters, inputs);
    onnx::ModelProto const model = onnx_model(graph, parameters);
    CHECK(testing::relative_error(testing::interpret_model(model, inputs), expected) <= testing::visible_error);
    if (!has_runtime) continue;
    CHECK(testing::relative_error(testing::run_model(model, inputs), expected) <= testing::visible_error);
  }
}

TEST_CASE("write_onnx_model: large initializers beside the model, which ONNX Runtime finds there") {
  Graph const graph = testing::graph_of("input x features=32\nlinear l x out=40 weight=W bias=b\noutput y l\n");
  Parameters const parameters = random_parameters(graph, 3, 1);
  onnx::ModelProto const model = onnx_model(graph, parameters);
  testing::TemporaryFolder const folder;
  write_onnx_model(folder / "whole.onnx", model);
  CHECK(folder.file_count() == 1);
  write_onnx_model(folder / "split.onnx", model, 1000);
  CHECK(folder.file_count() == 3);
  onnx::ModelProto read;
  REQUIRE(read.ParseFromString(testing::read_bytes(folder / "split.onnx")));
  CHECK(initializer_named(read, "W")->data_location() == onnx::TensorProto::EXTERNAL);
  CHECK(initializer_named(read, "b")->raw_data() == initializer_named(model, "b")->raw_data());
  CHECK(testing::read_bytes(folder / "split.onnx.data") == initializer_named(model, "W")->raw_data());
  if (!testing::has_onnx_runtime()) return;
  NamedValues const inputs = random_inputs(graph, 3, 2);
  for (char const* const name : {"whole.onnx", "split.onnx"}) {
    CAPTURE(name);
    auto const session = onnx_runtime::Session::from_file((folder / name).string());
    CHECK(testing::relative_error(testing::run_model(session, inputs), evaluate(graph, parameters, inputs)) <=
          onnx_tolerance);
  }
}
