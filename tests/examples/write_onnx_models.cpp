// SPDX-License-Identifier: MIT
// write_onnx_models FOLDER: models for fold_onnx_test.sh, each with two LayerNorms of which only the second's beta can
// move on. inside.onnx holds its tensors, outside.onnx has them in outside.onnx.data.
#include <foldnorm/graph/random_values.hpp>
#include <foldnorm/onnx/write_model.hpp>

#include <filesystem>

int main(int, char* arguments[]) {
  using namespace foldnorm;
  Graph g;
  NodeId const n1 = g.layer_norm("n1", g.linear("fc1", g.input("x", 8), 16, "W1", "b1"), "g1", "c1");
  NodeId const n2 = g.layer_norm("n2", g.linear("fc2", g.relu("r", n1), 16, "W2", "b2"), "g2", "c2");
  g.output("y", g.linear("fc3", n2, 4, "W3", "b3"));
  onnx::ModelProto const model = onnx_model(g, random_parameters(g, 3, 1), {OnnxTarget::onnx});
  std::filesystem::path const folder = arguments[1];
  write_onnx_model(folder / "inside.onnx", model);
  write_onnx_model(folder / "outside.onnx", model, 1);
}
