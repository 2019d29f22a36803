// SPDX-License-Identifier: MIT
// examples/fold_onnx.cpp -- folds the LayerNorms of an ONNX model into RMSNorms, and says of each whether and why not.
// docs/onnx.md is its manual.
#include "onnx/certificate.hpp"
#include "onnx/input_arguments.hpp"

#include <foldnorm/files/atomic_file.hpp>
#include <foldnorm/graph/dot.hpp>
#include <foldnorm/onnx/fold_model.hpp>
#include <foldnorm/onnx/report.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>

namespace {

using namespace foldnorm;

constexpr int status_folded = 0;
constexpr int status_certificate = 1;
constexpr int status_bad_input = 2;
constexpr int status_nothing = 3;

struct Options {
  std::string in, out, dot, report, target = "onnx";
  onnx_models::InputArguments inputs;  // of the certificate
  bool all = false, insert_centering = false, fold_affine = false, untie = false, correct_tied = false;

  OnnxFoldOptions fold() const {
    OnnxFoldOptions result;
    result.tied = untie ? TiedTables::untie : correct_tied || all ? TiedTables::correct : TiedTables::refuse;
    result.affine = fold_affine || all;
    result.insert_centering = insert_centering || all;
    result.target = target == "onnxruntime" ? OnnxTarget::onnxruntime : OnnxTarget::onnx;
    return result;
  }
};

std::optional<int> read_command_line(Options& options, int argument_count, char* arguments[]) {
  CLI::App app{"Folds the LayerNorms of an ONNX model into RMSNorms."};
  app.add_option("IN", options.in, "the model")->required();
  app.add_option("OUT", options.out, "where the folded model goes")->required();
  app.add_flag("--all", options.all, "--insert-centering --fold-affine --correct-tied");
  app.add_flag("--insert-centering", options.insert_centering,
               "insert centers where they free more norms than they are themselves");
  app.add_flag("--fold-affine", options.fold_affine, "also move gammas and betas into the layers that read them");
  auto* const untie =
      app.add_flag("--untie", options.untie, "center tables that also serve as heads; heads keep a copy");
  app.add_flag("--correct-tied", options.correct_tied, "center them; heads add what they lose")->excludes(untie);
  app.add_option("--target", options.target, "who runs it: onnxruntime has one operator for an RMSNorm")
      ->check(CLI::IsMember({"onnx", "onnxruntime"}))
      ->capture_default_str();
  app.add_option("--dot", options.dot, "write a drawing for Graphviz")->type_name("FILE");
  options.inputs.add_to(app);
  app.add_option("--report", options.report, "write the report to a file, too")->type_name("FILE");
  try {
    app.parse(argument_count, arguments);
  } catch (CLI::ParseError const& error) {
    return app.exit(error) == 0 ? 0 : status_bad_input;
  }
  return std::nullopt;
}

// Sums of up to 50,000 products in up to 50 layers in float: 1e-4 of the largest output is rounding; a wrong fold is
// wrong by its size.
constexpr double largest_rounding = 1e-3;

// Both models on the same random inputs, if ONNX Runtime is there: a line for every output. False: they differ.
bool certify(std::ostream& out, OnnxFile const& original, ::onnx::ModelProto const& folded,
             onnx_models::InputOptions const& inputs) {
  if (!onnx_runtime::is_available()) {
    out << "not certified: ONNX Runtime was not found (npm install --prefix build/npm --ignore-scripts "
           "onnxruntime-node)\n";
    return true;
  }
  try {
    onnx_models::OnnxCertificate const certificate =
        onnx_models::certify_onnx({original.model(), original.folder()}, {folded, original.folder()}, inputs);
    out << certificate;
    return certificate.largest_difference() <= largest_rounding;
  } catch (std::exception const& error) {  // the original cannot be run on these inputs, or not by ONNX Runtime
    out << "not certified: " << error.what() << '\n';
    return true;
  }
}

// Tensors that stay outside are named relative to the model, so that it has to stay where they are.
void check_place(OnnxFile const& file, std::filesystem::path const& out) {
  auto const& tensors = file.model().graph().initializer();
  bool const has_external = std::any_of(tensors.begin(), tensors.end(), detail::is_external);
  auto const folder = out.has_parent_path() ? out.parent_path() : ".";
  if (has_external && !std::filesystem::equivalent(folder, file.folder())) {
    throw onnx_error(file.name() + ": has tensors in other files of its folder: write the folded model there, too");
  }
}

int run(Options const& options) {
  OnnxFile const file(options.in);
  check_place(file, options.out);
  FoldedOnnx const folded = fold_onnx_model(file, options.fold());
  std::ostringstream report;
  print_report(report, file, folded);
  if (folded.changes() && !certify(report, file, folded.model, options.inputs.read())) {
    std::cerr << report.str() << file.name() << ": the folded model computes something else\n";
    return status_certificate;
  }
  AtomicFile out(options.out);
  if (folded.changes()) {
    write_onnx_model(out, folded.model);
  } else {
    file.copy_to(out);
  }
  auto const write = [](std::string const& path, std::string const& text) {
    if (path.empty()) return;
    AtomicFile to(path);
    to.write(text);
    to.commit();
  };
  std::ostringstream drawing;
  write_dot(drawing, folded.network.graph, folded.report);
  write(options.dot, drawing.str());
  write(options.report, report.str());
  out.commit();
  std::cout << report.str();
  return folded.changes() ? status_folded : status_nothing;
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  if (auto const status = read_command_line(options, argument_count, arguments)) return *status;
  try {
    return run(options);
  } catch (std::exception const& error) {
    std::cerr << error.what() << '\n';
    return status_bad_input;
  }
}
