// SPDX-License-Identifier: MIT
// examples/fold_onnx.cpp -- folds the LayerNorms of an ONNX model into RMSNorms, and says of each whether and why not.
// docs/onnx.md is its manual.
#include "command_line.hpp"
#include "onnx/certificate.hpp"
#include "onnx/gain.hpp"
#include "onnx/input_arguments.hpp"
#include "other_file.hpp"

#include <foldnorm/files/atomic_file.hpp>
#include <foldnorm/graph/dot.hpp>
#include <foldnorm/onnx/fold_model.hpp>
#include <foldnorm/onnx/output.hpp>
#include <foldnorm/onnx/report.hpp>

#include <CLI/CLI.hpp>

#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

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
  bool no_certificate = false, no_timing = false;

  OnnxFoldOptions fold() const {
    OnnxFoldOptions result;
    result.tied = untie ? TiedTables::untie : correct_tied || all ? TiedTables::correct : TiedTables::refuse;
    result.affine = fold_affine || all;
    result.insert_centering = insert_centering || all;
    result.fold_slower = all;
    result.target = target == "onnxruntime" ? OnnxTarget::onnxruntime : OnnxTarget::onnx;
    return result;
  }
};

std::optional<int> read_command_line(Options& options, int argument_count, char* arguments[]) {
  CLI::App app{"Folds the LayerNorms of an ONNX model into RMSNorms."};
  app.add_option("IN", options.in, "the model")->required();
  app.add_option("OUT", options.out, "where the folded model goes")->required()->check(named_file());
  app.add_flag("--all", options.all,
               "--insert-centering --fold-affine --correct-tied, and norms that are faster as they are");
  app.add_flag("--insert-centering", options.insert_centering,
               "insert centers where they free more norms than they are themselves");
  app.add_flag("--fold-affine", options.fold_affine, "also move gammas and betas into the layers that read them");
  auto* const untie =
      app.add_flag("--untie", options.untie, "center tables that also serve as heads; heads keep a copy");
  app.add_flag("--correct-tied", options.correct_tied, "center them; heads add what they lose")->excludes(untie);
  app.add_option("--target", options.target, "who runs it: onnxruntime has one operator for an RMSNorm")
      ->check(CLI::IsMember({"onnx", "onnxruntime"}))
      ->capture_default_str();
  app.add_option("--dot", options.dot, "write a drawing for Graphviz")->type_name("FILE")->check(named_file());
  options.inputs.add_to(app);
  app.add_flag("--no-certificate", options.no_certificate, "do not run the models: they are not compared, nor timed");
  app.add_flag("--no-timing", options.no_timing, "do not time them");
  app.add_option("--report", options.report, "write the report to a file, too")->type_name("FILE")->check(named_file());
  try {
    app.parse(argument_count, arguments);
  } catch (CLI::ParseError const& error) {
    return app.exit(error) == 0 ? 0 : status_bad_input;
  }
  return std::nullopt;
}

// Both models on the same random inputs: a line for every output. False: the folded one computes something else.
bool certify(std::ostream& out, onnx_models::LocatedModel const& original, onnx_models::LocatedModel const& folded,
             onnx_models::InputOptions const& inputs) {
  try {
    onnx_models::OnnxCertificate const certificate = onnx_models::certify_onnx(original, folded, inputs);
    out << certificate;
    if (certificate.largest_difference() <= onnx_models::largest_rounding) return true;
    out << "the folded model computes something else\n";
  } catch (onnx_models::folded_model_error const& error) {
    out << "the folded model cannot be run as the original can: " << error.what() << '\n';
  }
  return false;
}

// Of the model, with what it has outside.
std::uint64_t bytes_of(OnnxFile const& file) {
  std::uint64_t bytes = file.model().ByteSizeLong();
  for (auto const* const tensor : detail::external_tensors(file.model())) {
    bytes += detail::ExternalData(*tensor, file).find(std::nullopt).length;
  }
  return bytes;
}

// False: the folded model computes something else. Throws std::invalid_argument for inputs that the model has not.
bool run_both(std::ostream& out, OnnxFile const& file, FoldedOnnx const& folded, std::filesystem::path const& folder,
              onnx_models::InputOptions const& inputs, Options const& options) {
  constexpr std::uint64_t most_timed = 1 << 30;  // models are loaded five times for it
  onnx_models::LocatedModel const original{file.model(), file.folder()}, changed{folded.model, folder};
  char const* failing = "not certified: ";
  try {
    if (options.no_certificate) throw std::runtime_error("--no-certificate");
    if (!onnx_runtime::is_available()) {
      throw std::runtime_error(
          "ONNX Runtime was not found (npm install --prefix build/npm --ignore-scripts onnxruntime-node)");
    }
    if (!certify(out, original, changed, inputs)) return false;
    failing = "not timed: ";
    if (options.no_timing) throw std::runtime_error("--no-timing");
    if (bytes_of(file) > most_timed) throw std::runtime_error("the model is larger than 1 GiB");
    onnx_models::print_gain(out, onnx_models::time_fold(original, changed, inputs));
  } catch (std::invalid_argument const&) {
    throw;
  } catch (std::exception const& error) {  // the original cannot be run by ONNX Runtime, or not on random inputs
    out << failing << error.what() << '\n';
  }
  return true;
}

// Throws std::invalid_argument if drawing or report would be written over a model, a tensor's file or each other.
void check_extra_files(OnnxFile const& file, Options const& options) {
  require_other_file("--dot", options.dot, options.report);
  for (auto const& [option, path] : {std::pair{"--dot", options.dot}, {"--report", options.report}}) {
    require_other_file(option, path, {options.in, options.out, options.out + ".data"});
    for (auto const* const tensor : detail::external_tensors(file.model())) {
      for (auto const& entry : tensor->external_data()) {
        if (entry.key() == "location") require_other_file(option, path, file.folder() / entry.value());
      }
    }
  }
}

int run(Options const& options) {
  onnx_models::InputOptions const inputs = options.inputs.read();
  OnnxFile const file(options.in);
  check_extra_files(file, options);
  OnnxOutput out(options.out, file);
  FoldedOnnx folded = fold_onnx_model(file, options.fold(), out.data());
  std::ostringstream report;
  print_report(report, file, folded);
  if (!folded.left_alone.empty()) {
    report << folded.left_alone.size() << " norms are kept that would be slower: --all folds them, too\n";
  }
  if (folded.changes()) {
    out.complete(folded.model);
    if (!run_both(report, file, folded, out.folder(), inputs, options)) {
      std::cerr << report.str() << file.name() << ": not certified, so that nothing is written\n";
      return status_certificate;
    }
    out.write(folded.model);
  } else {
    out.copy();
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
    return status_of_output(run(options));
  } catch (std::exception const& error) {
    std::cerr << error.what() << '\n';
    return status_bad_input;
  }
}
