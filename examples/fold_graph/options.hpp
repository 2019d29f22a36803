// SPDX-License-Identifier: MIT
// fold_graph/options.hpp -- the command line of fold_graph.
#pragma once

#include <foldnorm/core/types.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>

#include "../command_line.hpp"
#include "../other_file.hpp"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::fold_graph {

inline constexpr int status_good = 0;
inline constexpr int status_difference = 1;  // --evaluate found one above rounding
inline constexpr int status_bad_input = 2;

struct Options {
  std::vector<std::string> files;
  bool training = false;
  bool untie = false;
  bool correct_tied = false;
  bool affine = false;
  bool insert_centering = false;
  bool json = false;
  std::string dot;
  bool evaluate = false;
  Index tokens = 5;
  std::uint64_t seed = 1;
  std::string parameters;
  std::vector<std::string> in_by_out;
  std::string write;
  std::string write_graph;

  FoldOptions fold_options() const {
    FoldOptions result;
    if (training) result.mode = FoldMode::training;
    if (untie) result.tied = TiedTables::untie;
    if (correct_tied) result.tied = TiedTables::correct;
    result.affine = affine;
    if (insert_centering) result.insert_centering.emplace();
    return result;
  }
};

// Fills `options`. Returns the exit status if the program is to end here: help was asked for, or the line was wrong.
inline std::optional<int> read_command_line(Options& options, int argument_count, char* arguments[]) {
  CLI::App app{"Which layer_norms of a network can become rms_norms by centering weights, and why the others stay."};
  app.add_option("FILE", options.files, "layer graphs (docs/layer_graph_format.md)")->required();
  // What to fold.
  auto* const training =
      app.add_flag("--training", options.training, "judge for training: dropout blocks, drop_path does not");
  auto* const untie =
      app.add_flag("--untie", options.untie, "center tables that also serve as heads; the heads keep a copy")
          ->excludes(training);
  app.add_flag("--correct-tied", options.correct_tied,
               "center tables that also serve as heads; the heads add what they lose")
      ->excludes(untie)
      ->excludes(training);
  app.add_flag("--affine", options.affine, "also move gammas and betas into the linear layers that read them")
      ->excludes(training);
  app.add_flag("--insert-centering", options.insert_centering,
               "insert center nodes where they free more norms than they are themselves");
  // What to show.
  app.add_flag("--json", options.json, "print for machines: one JSON object a line");
  app.add_option("--dot", options.dot, "write a drawing for Graphviz: dot -Tsvg FILE")
      ->type_name("FILE")
      ->check(named_file());
  app.add_flag("--evaluate", options.evaluate,
               "run original and folded on random inputs, and random parameters if none");
  app.add_option("--tokens", options.tokens, "tokens of every input")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--seed", options.seed, "of the random numbers")->capture_default_str();
  // Weights in and out.
  auto* const parameters = app.add_option("--parameters", options.parameters, "the parameters' values (safetensors)")
                               ->type_name("FILE")
                               ->check(named_file());
  app.add_option("--in-by-out", options.in_by_out, "weights stored as [in, out]; * and ? match what they do in a shell")
      ->type_name("NAME")
      ->needs(parameters);
  app.add_option("--write", options.write, "write the folded parameters")
      ->type_name("FILE")
      ->check(named_file())
      ->needs(parameters);
  app.add_option("--write-graph", options.write_graph, "write the folded layer graph")
      ->type_name("FILE")
      ->check(named_file())
      ->needs(parameters);
  try {
    app.parse(argument_count, arguments);
    if (!options.parameters.empty() && options.files.size() > 1) {
      throw CLI::ValidationError("--parameters", "are of one layer graph, and there are several");
    }
    require_other_file("--write", options.write, {options.write_graph, options.files.front()});
    require_other_file("--write-graph", options.write_graph, options.parameters);
  } catch (CLI::ParseError const& error) {
    return app.exit(error) == 0 ? status_good : status_bad_input;
  } catch (std::invalid_argument const& error) {
    std::cerr << error.what() << '\n';
    return status_bad_input;
  }
  return std::nullopt;
}

}  // namespace foldnorm::fold_graph
