// SPDX-License-Identifier: MIT
// tests/consumer/fold_model.cpp -- the optional component: a layer and a LayerNorm, written as an ONNX model, fold.
#include <foldnorm/graph/random_values.hpp>
#include <foldnorm/onnx/fold_model.hpp>
#include <foldnorm/onnx/write_model.hpp>

#include <iostream>

int main() {
  foldnorm::Graph g;
  auto const h = g.linear("fc", g.input("x", 4), 8, "W", "b");
  g.output("y", g.relu("act", g.layer_norm("ln", h, "gamma", "beta")));
  foldnorm::write_onnx_model("tiny.onnx", foldnorm::onnx_model(g, foldnorm::random_parameters(g, 5, 1)));
  foldnorm::OnnxFile const model("tiny.onnx");
  foldnorm::FoldedOnnx const folded = foldnorm::fold_onnx_model(model, {.fold_slower = true});
  std::cout << "folded " << folded.folds() << " of " << folded.norms() << '\n';
  for (auto const& node : folded.model.graph().node()) {
    if (node.op_type() == "LayerNormalization") return 1;  // it has become an RMSNorm
  }
  return folded.folds() == 1 && folded.norms() == 1 ? 0 : 1;
}
