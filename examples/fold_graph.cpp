// SPDX-License-Identifier: MIT
// examples/fold_graph.cpp -- reads layer graphs as text and prints which layer_norms fold, what to center, and why the
// others stay. The lines are docs/layer_graph_format.md, section 2.
#include <foldnorm/graph/certificate.hpp>
#include <foldnorm/graph/dot.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/random_values.hpp>
#include <foldnorm/graph/text.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int status_good = 0;
constexpr int status_difference = 1;  // --evaluate found one above rounding
constexpr int status_bad_input = 2;

constexpr double largest_relative_difference = 1e-12;

struct Options {
  std::vector<std::string> files;
  bool training = false;
  bool untie = false;
  bool correct_tied = false;
  bool affine = false;
  bool insert_centering = false;
  std::string dot;
  bool evaluate = false;
  foldnorm::Index tokens = 5;
  std::uint64_t seed = 1;
};

foldnorm::Graph read_file(std::string const& path) {
  if (std::filesystem::is_directory(path)) throw foldnorm::parse_error(path + ":1: is a directory");
  std::ifstream in(path);
  if (!in) throw foldnorm::parse_error(path + ":1: cannot be opened: " + std::strerror(errno));
  return foldnorm::read_graph(in, path);
}

// With several files, drawings are told apart by their number: graph.dot, graph.2.dot, ...
std::filesystem::path drawing_path(std::string const& path, std::size_t file) {
  std::filesystem::path result(path);
  if (file > 0) result.replace_extension("." + std::to_string(file + 1) + result.extension().string());
  return result;
}

// Throws before anything is printed where the file is malformed; where it is not, the verdicts come first.
int report_file(Options const& options, std::size_t file, std::ostream& out) {
  std::string const& path = options.files[file];
  foldnorm::Graph const graph = read_file(path);
  foldnorm::FoldOptions fold_options;
  if (options.training) fold_options.mode = foldnorm::FoldMode::training;
  if (options.untie) fold_options.tied = foldnorm::TiedTables::untie;
  if (options.correct_tied) fold_options.tied = foldnorm::TiedTables::correct;
  fold_options.affine = options.affine;
  if (options.insert_centering) fold_options.insert_centering.emplace();
  foldnorm::FoldReport const report = foldnorm::find_foldable_norms(graph, fold_options);
  if (options.files.size() > 1) out << "# " << path << '\n';
  out << report << std::flush;
  int status = status_good;
  if (options.evaluate) {
    foldnorm::Parameters const parameters = foldnorm::random_parameters(graph, options.tokens, options.seed);
    foldnorm::FoldedModel const folded = foldnorm::fold_norms(graph, report, parameters);
    foldnorm::Certificate const certificate =
        foldnorm::certify(graph, parameters, folded, foldnorm::random_inputs(graph, options.tokens, options.seed + 1));
    out << certificate;
    if (!(certificate.largest_difference() <= largest_relative_difference)) status = status_difference;
  }
  if (!options.dot.empty()) {
    std::filesystem::path const drawing = drawing_path(options.dot, file);
    std::ofstream dot(drawing);
    foldnorm::write_dot(dot, graph, report);
    if (!dot.flush()) throw std::runtime_error(drawing.string() + ": cannot be written");
  }
  return status;
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app{"Which layer_norms of a network can become rms_norms by centering weights, and why the others stay."};
  app.add_option("FILE", options.files, "layer graphs (docs/layer_graph_format.md)")->required();
  auto* const training =
      app.add_flag("--training", options.training, "judge for training: dropout blocks, drop_path does not");
  auto* const untie =
      app.add_flag("--untie", options.untie, "center tables that also serve as heads; the heads keep a copy");
  app.add_flag("--correct-tied", options.correct_tied,
               "center tables that also serve as heads; the heads add what they lose")
      ->excludes(untie);
  app.add_flag("--affine", options.affine, "also move gammas and betas into the linear layers that read them")
      ->excludes(training);
  app.add_flag("--insert-centering", options.insert_centering,
               "insert center nodes where they free more norms than they are themselves");
  app.add_option("--dot", options.dot, "write a drawing for Graphviz: dot -Tsvg FILE")->type_name("FILE");
  app.add_flag("--evaluate", options.evaluate, "run original and folded on random parameters and inputs");
  app.add_option("--tokens", options.tokens, "tokens of every input")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--seed", options.seed, "of the random numbers")->capture_default_str();
  try {
    app.parse(argument_count, arguments);
  } catch (CLI::ParseError const& error) {
    return app.exit(error) == 0 ? status_good : status_bad_input;
  }

  int status = status_good;
  for (std::size_t file = 0; file < options.files.size(); ++file) {
    try {
      status = std::max(status, report_file(options, file, std::cout));
    } catch (foldnorm::parse_error const& error) {
      std::cerr << error.what() << '\n';
      status = status_bad_input;
    } catch (std::exception const& error) {  // well-formed, but cannot be evaluated or drawn as asked
      std::cerr << options.files[file] << ": " << error.what() << '\n';
      status = status_bad_input;
    }
  }
  return status;
}
