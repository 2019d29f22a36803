// SPDX-License-Identifier: MIT
// examples/certify_onnx.cpp -- runs two ONNX models on the same random inputs and says how far their outputs are apart.
// Exit status: 0 if that is rounding, 1 if not, 2 if they cannot be compared.
#include "command_line.hpp"
#include "onnx/certificate.hpp"
#include "onnx/input_arguments.hpp"

#include <CLI/CLI.hpp>

#include <exception>
#include <iostream>
#include <string>

using namespace foldnorm::onnx_models;

int main(int argument_count, char* arguments[]) {
  std::string original, folded;
  InputArguments inputs;
  double tolerance = largest_rounding;
  int threads = 1;
  CLI::App app{"How far apart two ONNX models are, in ONNX Runtime, on the same random inputs."};
  app.add_option("original", original, "a model")->required();
  app.add_option("folded", folded, "its fold")->required();
  inputs.add_to(app);
  app.add_option("--threads", threads, "of ONNX Runtime")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--tolerance", tolerance, "largest relative difference that is rounding")->capture_default_str();
  return foldnorm::run_command_line(app, argument_count, arguments, [&] {
    OnnxCertificate const certificate = certify_onnx(original, folded, inputs.read(), threads);
    std::cout << certificate;
    return certificate.largest_difference() <= tolerance ? 0 : 1;
  });
}
