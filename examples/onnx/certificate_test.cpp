// SPDX-License-Identifier: MIT
// onnx/certificate_test.cpp -- a fold is equal at rounding, a broken one is not, and nothing hides behind a softmax.
#include "onnx/certificate.hpp"
#include "architectures/catalogue.hpp"

#include "catch.hpp"
#include "graph/graph_testing.hpp"
#include "onnx/run_model.hpp"
#include "safetensors/safetensors_testing.hpp"

#include <foldnorm/onnx/write_model.hpp>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::onnx_models;

namespace {

void write_certified(std::filesystem::path const& path, Graph const& graph, Parameters const& parameters) {
  write_onnx_model(path, onnx_model(graph, parameters), 100);
}

}  // namespace

TEST_CASE("certify_onnx: a fold is equal at rounding, a broken one is not") {
  if (!testing::has_onnx_runtime()) return;
  testing::TemporaryFolder const folder;
  Graph const graph = architectures::gpt2({2, {8, 2, 16}, 11});
  Parameters const parameters = random_parameters(graph, 8, 1);
  write_certified(folder / "original.onnx", graph, parameters);
  FoldedModel folded = fold_norms(graph, find_foldable_norms(graph, testing::untying()), parameters);
  write_certified(folder / "folded.onnx", folded.graph, folded.parameters);
  OnnxCertificate const good = certify_onnx(folder / "original.onnx", folder / "folded.onnx");
  CHECK(good.values.size() == 1);
  CHECK(good.largest_difference() <= 1e-5);  // some twenty layers of sums of some ten products in float
  std::string const& table = folded.graph.parameters().front().name;
  folded.parameters.get<double>(table)(0, 0) += 0.5;
  folded.parameters.get<double>(table)(0, 1) += 0.5;
  write_certified(folder / "broken.onnx", folded.graph, folded.parameters);
  CHECK(certify_onnx(folder / "original.onnx", folder / "broken.onnx").largest_difference() > testing::visible_error);
}

TEST_CASE("certify_onnx: what an activation at an output reads is compared, too") {
  if (!testing::has_onnx_runtime()) return;
  testing::TemporaryFolder const folder;
  Graph const graph =
      testing::graph_of("input x features=4\nlinear l x out=4 weight=W bias=b\nsoftmax s l\noutput y s\noutput x2 x\n");
  Parameters parameters = random_parameters(graph, 1, 1);
  write_certified(folder / "a.onnx", graph, parameters);
  parameters.get<double>("b").array() += 1;  // no softmax sees that
  write_certified(folder / "b.onnx", graph, parameters);
  OnnxCertificate const certificate = certify_onnx(folder / "a.onnx", folder / "b.onnx");
  REQUIRE(certificate.values.size() == 3);
  CHECK(certificate.values[0].value == "x2");
  CHECK(certificate.values[0].absolute == 0);
  CHECK(certificate.values[1].value == "y");
  CHECK(certificate.values[1].relative <= 1e-6);  // some ulp of float
  CHECK(certificate.values[2].value == "y:Softmax");
  CHECK(certificate.values[2].absolute == Approx(1).epsilon(1e-5));
  CHECK(testing::printed(certificate).find("difference y:Softmax ") != std::string::npos);
}

TEST_CASE("certify_onnx: infinities that agree are no difference, a NaN is one") {
  Tensor const one{Type::f32, {2}, {}};
  auto const tensor = [&](float a, float b) {
    Tensor made = one;
    made.bytes.resize(8);
    std::memcpy(made.bytes.data(), &a, 4);
    std::memcpy(made.bytes.data() + 4, &b, 4);
    return made;
  };
  constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  using onnx_models::detail::difference;
  CHECK(difference("y", tensor(-infinity, 2), tensor(-infinity, 3)).relative == 0.5);
  CHECK(std::isnan(difference("y", tensor(nan, 2), tensor(nan, 2)).relative));
  CHECK(std::isnan(difference("y", tensor(nan, 2), tensor(1, 7)).absolute));
  CHECK(difference("y", tensor(0, 0), tensor(0, 0)).relative == 0);
}

TEST_CASE("model_inputs: sizes, ranges and given values are those asked for") {
  std::vector<TensorInfo> const infos{{"x", Type::f32, {-1, 3}, {"tokens", ""}}, {"ids", Type::i64, {-1}, {""}}};
  InputOptions options;
  options.sizes["tokens"] = 5;
  options.ranges["ids"] = {7, 9};
  auto values = model_inputs(infos, options);
  CHECK(values.at("x").shape == onnx_runtime::Shape{5, 3});
  CHECK(values.at("ids").shape == onnx_runtime::Shape{8});
  for (double const id : onnx_models::detail::values_of(values.at("ids"))) CHECK((id >= 7 && id <= 9));
  options.given.emplace("x", values.at("x"));
  options.sizes.clear();
  options.seed = 2;
  CHECK(model_inputs(infos, options).at("x").bytes == values.at("x").bytes);
  options.given.at("x").shape = {3, 5};
  CHECK_THROWS_WITH(model_inputs(infos, options), "the value given for input 'x' does not fit");
  options = {};
  options.ranges["y"] = {0, 1};
  CHECK_THROWS_WITH(model_inputs(infos, options), "the model has no input 'y'");
  options = {};
  options.sizes["y"] = 1;
  CHECK_THROWS_WITH(model_inputs(infos, options), "the model has no dimension 'y'");
}

TEST_CASE("model_inputs: a range is one of integers that their type holds") {
  std::vector<TensorInfo> const infos{
      {"x", Type::f32, {1}, {""}}, {"byte", Type::u8, {9}, {""}}, {"mask", Type::boolean, {1}, {""}}};
  auto const inputs = [&](std::string const& name, std::int64_t first, std::int64_t last) {
    InputOptions options;
    options.ranges[name] = {first, last};
    return model_inputs(infos, options);
  };
  for (double const value : onnx_models::detail::values_of(inputs("byte", 250, 255).at("byte"))) CHECK(value >= 250);
  CHECK_NOTHROW(inputs("mask", 1, 1));
  CHECK_THROWS_WITH(inputs("byte", 250, 256), "input 'byte' has no integers from 250 to 256");
  CHECK_THROWS_WITH(inputs("byte", -1, 0), "input 'byte' has no integers from -1 to 0");
  CHECK_THROWS_WITH(inputs("mask", 0, 2), "input 'mask' has no integers from 0 to 2");
  CHECK_THROWS_WITH(inputs("x", 0, 1), "input 'x' has no integers from 0 to 1");
}

TEST_CASE("certify_onnx: a fold that cannot be run is told from an original that cannot, and from bad options") {
  if (!testing::has_onnx_runtime()) return;
  Graph const graph = testing::graph_of("input x features=4\nrelu r x\noutput y r\n");
  onnx::ModelProto const good = onnx_model(graph, {});
  onnx::ModelProto bad = good;
  for (onnx::NodeProto& node : *bad.mutable_graph()->mutable_node()) node.set_op_type("Nonsense");
  CHECK(certify_onnx(LocatedModel{good, "."}, LocatedModel{good, "."}).largest_difference() == 0);
  CHECK_THROWS_AS(certify_onnx(LocatedModel{good, "."}, LocatedModel{bad, "."}), folded_model_error);
  InputOptions options;
  options.sizes["nothing"] = 1;
  CHECK_THROWS_AS(certify_onnx(LocatedModel{good, "."}, LocatedModel{bad, "."}, options), std::invalid_argument);
  try {
    certify_onnx(LocatedModel{bad, "."}, LocatedModel{good, "."});
    FAIL("the original was run");
  } catch (folded_model_error const&) {
    FAIL("it is not the fold's fault");
  } catch (std::runtime_error const& error) {
    CHECK(std::string(error.what()).find("Nonsense") != std::string::npos);
  }
}

TEST_CASE("certify_onnx: refuses models of other inputs or outputs, and files that are no models") {
  if (!testing::has_onnx_runtime()) return;
  testing::TemporaryFolder const folder;
  write_certified(folder / "a.onnx", testing::graph_of("input x features=4\noutput y x\n"), {});
  write_certified(folder / "b.onnx", testing::graph_of("input x features=5\noutput y x\n"), {});
  write_certified(folder / "c.onnx", testing::graph_of("input x features=4\noutput z x\n"), {});
  testing::write_bytes(folder / "d.onnx", "no model");
  CHECK_THROWS_WITH(certify_onnx(folder / "a.onnx", folder / "b.onnx"),
                    "certify_onnx: the models have different inputs");
  CHECK_THROWS_WITH(certify_onnx(folder / "a.onnx", folder / "c.onnx"),
                    "certify_onnx: the models have different outputs");
  CHECK_THROWS_WITH(certify_onnx(folder / "a.onnx", folder / "d.onnx"),
                    (folder / "d.onnx").string() + ": is no ONNX model, or not all of one");
  CHECK_THROWS_WITH(certify_onnx(folder / "e.onnx", folder / "a.onnx"),
                    (folder / "e.onnx").string() + ": cannot be opened: No such file or directory");
}
