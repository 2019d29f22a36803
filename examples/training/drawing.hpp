// SPDX-License-Identifier: MIT
// training/drawing.hpp -- a layer graph with its verdicts as a .dot file, and as .svg where Graphviz is installed.
#pragma once

#include <foldnorm/graph/dot.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>

#include "run_program.hpp"

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::training {

// Writes directory/stem.dot, and stem.svg if it can; returns what it wrote. Throws std::runtime_error if the directory
// or the .dot file cannot be written.
inline std::vector<std::filesystem::path> draw_graph(Graph const& graph, FoldReport const& report,
                                                     std::filesystem::path const& directory, std::string const& stem) {
  std::filesystem::create_directories(directory);
  std::filesystem::path const dot_file = directory / (stem + ".dot");
  std::filesystem::path const svg = directory / (stem + ".svg");
  std::ofstream file(dot_file);
  write_dot(file, graph, report);
  file.close();
  if (!file) throw std::runtime_error(dot_file.string() + ": cannot be written");
  if (run_program({"dot", "-Tsvg", "-o", svg.string(), dot_file.string()})) return {dot_file, svg};
  return {dot_file};
}

}  // namespace foldnorm::training
