// SPDX-License-Identifier: MIT
// examples/fold_graph.cpp -- reads layer graphs as text and prints which layer_norms fold, what to center, and why the
// others stay; folds their weights, too, if there are any. The lines are docs/layer_graph_format.md, section 2.
#include <foldnorm/files/atomic_file.hpp>
#include <foldnorm/graph/dot.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/text.hpp>

#include "fold_graph/options.hpp"
#include "fold_graph/report_json.hpp"
#include "fold_graph/weights.hpp"
#include "other_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>

namespace {

using namespace foldnorm;
using namespace foldnorm::fold_graph;

constexpr double largest_relative_difference = 1e-12;

Graph read_file(std::string const& path) {
  if (std::filesystem::is_directory(path)) throw parse_error(path + ":1: is a directory");
  std::ifstream in(path);
  if (!in) throw parse_error(path + ":1: cannot be opened: " + std::strerror(errno));
  return read_graph(in, path);
}

// With several files, drawings are told apart by their number: graph.dot, graph.2.dot, ...
std::filesystem::path drawing_path(std::string const& path, std::size_t file) {
  std::filesystem::path result(path);
  if (file > 0) result.replace_extension("." + std::to_string(file + 1) + result.extension().string());
  return result;
}

void print_evaluation(Evaluation const& evaluation, std::string const& path, bool json, std::ostream& out) {
  if (json) {
    Json document{{"file", path},
                  {"differences", to_json(evaluation.certificate.outputs)},
                  {"means", to_json(evaluation.certificate.norms)}};
    if (evaluation.rounded) document["rounded"] = to_json(*evaluation.rounded);
    out << line_of(document);
    return;
  }
  out << evaluation.certificate;
  if (!evaluation.rounded) return;
  for (OutputDifference const& output : *evaluation.rounded) {
    out << "rounded " << output.output << ' ' << output.absolute << ' ' << output.relative << '\n';
  }
}

// Throws before anything is printed where a file is malformed or lacks parameters; else the verdicts come first.
int report_file(Options const& options, std::size_t file, std::ostream& out) {
  std::string const& path = options.files[file];
  Graph const graph = read_file(path);
  std::optional<Weights> weights;
  if (!options.parameters.empty()) weights.emplace(graph, options);
  FoldReport const report = find_foldable_norms(graph, options.fold_options());
  if (options.json) {
    Json document{{"file", path}};
    document.update(to_json(graph, report));
    out << line_of(document);
  } else {
    if (options.files.size() > 1) out << "# " << path << '\n';
    out << report;
  }
  out << std::flush;
  int status = status_good;
  if (options.evaluate) {
    Evaluation const evaluation = evaluate_fold(graph, report, weights ? &*weights : nullptr, options);
    print_evaluation(evaluation, path, options.json, out);
    if (!(evaluation.certificate.largest_difference() <= largest_relative_difference)) status = status_difference;
  }
  if (!options.dot.empty()) {
    std::filesystem::path const drawing = drawing_path(options.dot, file);
    for (std::string const& other : options.files) require_other_file("--dot", drawing, other);
    require_other_file("--dot", drawing, {options.parameters, options.write, options.write_graph});
    std::ostringstream text;
    write_dot(text, graph, report);
    AtomicFile dot(drawing);
    dot.write(text.str());
    dot.commit();
  }
  if (weights) write_fold(graph, report, *weights, options);
  return status;
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  if (auto const status = read_command_line(options, argument_count, arguments)) return *status;
  int status = status_good;
  for (std::size_t file = 0; file < options.files.size(); ++file) {
    try {
      status = std::max(status, report_file(options, file, std::cout));
    } catch (parse_error const& error) {
      std::cerr << error.what() << '\n';
      status = status_bad_input;
    } catch (safetensors_error const& error) {
      std::cerr << error.what() << '\n';
      status = status_bad_input;
    } catch (std::exception const& error) {  // well-formed, but cannot be evaluated, drawn, folded or written as asked
      std::cerr << options.files[file] << ": " << error.what() << '\n';
      status = status_bad_input;
    }
  }
  return status_of_output(status);
}
