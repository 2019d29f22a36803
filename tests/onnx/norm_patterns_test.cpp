// SPDX-License-Identifier: MIT
// tests/onnx/norm_patterns_test.cpp -- ONNX's own test cases of LayerNormalization: recognised, and computed by our
// kernels. Debian: libonnx-testdata.
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/onnx/infer_shapes.hpp>
#include <foldnorm/onnx/norm_patterns.hpp>
#include <foldnorm/onnx/to_graph.hpp>

#include "catch.hpp"
#include "onnx/onnx_testing.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;

namespace {

std::vector<std::filesystem::path> layer_norm_cases() {
  std::vector<std::filesystem::path> result;
  std::filesystem::path const folder = "/usr/share/libonnx-testdata/data/node";
  if (!std::filesystem::is_directory(folder)) return result;
  for (auto const& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("test_layer_normalization_")) result.push_back(entry.path());
  }
  return result;
}

TestTensor stored_tensor(std::filesystem::path const& path) {
  ::onnx::TensorProto tensor;
  REQUIRE(tensor.ParseFromString(read_bytes(path)));
  return ReferenceInterpreter::tensor_of(tensor);
}

// Where a model's norm begins to normalize: all axes from this one on.
struct FoundNorm {
  std::size_t axis = 0;
  double epsilon = 0;
};
std::optional<FoundNorm> find_norm(OnnxFile const& file, TestTensor const& x) {
  OnnxIndex const index(file);
  NormPatterns const patterns(file, index);
  for (int n = 0; n < index.graph().node_size(); ++n) {
    auto const& node = index.node(n);
    if (node.op_type() == "LayerNormalization") {
      return FoundNorm{x.axis(integer_attribute(node, "axis", -1)), float_attribute(node, "epsilon", double{1e-5F})};
    }
    auto const pattern = patterns.match(n);
    if (!pattern || !pattern->subtracts_mean) continue;
    CHECK(pattern->axis == 1);  // of x as two axes
    CHECK_FALSE(pattern->is_private);
    std::string flattened = pattern->input;  // by a cast of Flatten
    while (index.node(index.producer(flattened)).op_type() != "Flatten") {
      flattened = index.node(index.producer(flattened)).input(0);
    }
    return FoundNorm{x.axis(integer_attribute(index.node(index.producer(flattened)), "axis", 1)), pattern->epsilon};
  }
  return std::nullopt;
}

}  // namespace

TEST_CASE("ONNX's LayerNormalization cases are recognised and computed right") {
  auto const cases = layer_norm_cases();
  if (cases.empty()) WARN("libonnx-testdata is not installed");
  for (auto const& folder : cases) {
    INFO(folder.string());
    OnnxFile const file(folder / "model.onnx");
    auto const data = folder / "test_data_set_0";
    TestTensor const x = stored_tensor(data / "input_0.pb"), gamma = stored_tensor(data / "input_1.pb"),
                     beta = stored_tensor(data / "input_2.pb"), expected = stored_tensor(data / "output_0.pb");
    auto const norm = find_norm(file, x);
    REQUIRE(norm);
    Index const features = x.product(norm->axis, x.rank()), count = x.size() / features;
    Matrix<double> const columns = Eigen::Map<Matrix<double> const>(x.values.data(), features, count);
    Vector<double> const g = Eigen::Map<Vector<double> const>(gamma.values.data(), features);
    Vector<double> const b = Eigen::Map<Vector<double> const>(beta.values.data(), features);
    Matrix<double> y(features, count);
    layer_norm(columns, g, b, norm->epsilon, y);
    // The expected values are floats, computed in float of a few terms.
    Matrix<double> const wanted = Eigen::Map<Matrix<double> const>(expected.values.data(), features, count);
    CHECK((y - wanted).cwiseAbs().maxCoeff() < 1e-5);
    // Their means and deviations are outputs, so that nothing may fold.
    CHECK(fold_onnx_model(file).report.folds() == 0);
    CHECK(fold_onnx_model(file).norms() == 1);
  }
}
