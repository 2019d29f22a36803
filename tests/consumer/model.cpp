// SPDX-License-Identifier: MIT
// tests/consumer/model.cpp -- the optional component: an ONNX model, written and read. Folding one takes a minute to
// compile, and is the program of docs/tutorials/onnx.md.
#include <foldnorm/onnx/model_file.hpp>

#include <fstream>
#include <iostream>

int main() {
  onnx::ModelProto model;
  model.mutable_graph()->set_name("tiny");
  {
    std::ofstream out("tiny.onnx", std::ios::binary);
    if (!model.SerializeToOstream(&out)) return 1;
  }
  foldnorm::OnnxFile const file("tiny.onnx");
  std::cout << file.name() << ": " << file.model().graph().name() << '\n';
  return file.model().graph().name() == "tiny" ? 0 : 1;
}
