// SPDX-License-Identifier: MIT
// examples/architectures.cpp -- known architectures at full depth: how many LayerNorms fold by weights alone, how many
// with inserted centerings, why the others stay. Every count is checked by running a narrow copy of the network.
#include "architectures/catalogue.hpp"
#include "command_line.hpp"

#include <foldnorm/graph/certificate.hpp>
#include <foldnorm/graph/dot.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/random_values.hpp>
#include <foldnorm/graph/text.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace foldnorm;
using architectures::Architecture;
using architectures::Scale;

// Rounding of some hundred layers of some ten features in double, see docs/folding.md.
constexpr double largest_rounding = 1e-12;

FoldOptions options_for(Architecture const& architecture, bool insert) {
  FoldOptions options;
  if (architecture.tied) options.tied = TiedTables::untie;
  if (insert) options.insert_centering = PlacementCosts{};
  return options;
}

struct Row {
  std::size_t norms, folds, insertions, folds_with_insertions, centerings;
  std::string first_refusal;  // of those that no insertion frees
  double milliseconds = 0;    // of both analyses
  double difference = 0;      // of the narrow copy's outputs
};

// The first reason and node, and how many norms share that reason.
std::string refusal_text(FoldReport const& report) {
  auto const stays = [](Verdict const& norm) { return !norm.folds(); };
  auto const first = std::ranges::find_if(report.norms, stays);
  if (first == report.norms.end()) return "";
  return std::string(to_string(first->refusal->reason)) + " " + first->refusal->blame_name;
}

Row row_of(Architecture const& architecture) {
  using Clock = std::chrono::steady_clock;
  Graph const graph = architecture.build(Scale::real);
  auto const start = Clock::now();
  FoldReport const plain = find_foldable_norms(graph, options_for(architecture, false));
  FoldReport const placed = find_foldable_norms(graph, options_for(architecture, true));
  std::chrono::duration<double, std::milli> const taken = Clock::now() - start;

  Graph const narrow = architecture.build(Scale::narrow);
  FoldReport const narrow_report = find_foldable_norms(narrow, options_for(architecture, true));
  if (narrow_report.folds() != placed.folds()) {
    throw std::logic_error(std::string(architecture.name) + ": its narrow copy folds otherwise");
  }
  Parameters const parameters = random_parameters(narrow, architectures::narrow_tokens, 1);
  Certificate const certificate = certify(narrow, parameters, fold_norms(narrow, narrow_report, parameters),
                                          random_inputs(narrow, architectures::narrow_tokens, 2));
  return {
      plain.norms.size(),   plain.folds(), placed.placement->insertions(),  placed.folds(), placed.centerings.size(),
      refusal_text(placed), taken.count(), certificate.largest_difference()};
}

int print_table() {
  std::printf("%-21s %5s %5s %8s %5s  %-40s %10s %7s %10s\n", "architecture", "norms", "fold", "inserted", "fold",
              "first reason of the rest", "parameters", "ms", "difference");
  double milliseconds = 0;
  int status = 0;
  for (Architecture const& architecture : architectures::catalogue()) {
    Row const row = row_of(architecture);
    std::printf("%-21s %5zu %5zu %8zu %5zu  %-40s %10zu %7.2f %10.1e\n", std::string(architecture.name).c_str(),
                row.norms, row.folds, row.insertions, row.folds_with_insertions, row.first_refusal.c_str(),
                row.centerings, row.milliseconds, row.difference);
    milliseconds += row.milliseconds;
    if (!(row.difference <= largest_rounding)) status = 1;
  }
  std::printf("\nAnalysis of all at full size: %.1f ms. Difference: of a narrow copy's outputs, folded and original.\n",
              milliseconds);
  if (status != 0) std::printf("A DIFFERENCE IS LARGER THAN ROUNDING.\n");
  return status;
}

Architecture const& find(std::string const& name) {
  auto const& all = architectures::catalogue();
  auto const found = std::ranges::find(all, name, &Architecture::name);
  if (found == all.end()) throw std::invalid_argument("there is no '" + name + "'; the table names them all");
  return *found;
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  std::string drawn, written;
  bool narrow = false;
  CLI::App app{"Which LayerNorms of known architectures fold. Without options: the table."};
  app.add_option("--dot", drawn, "draw one, with its verdicts, for Graphviz: ... --dot NAME | dot -Tsvg")
      ->type_name("NAME");
  app.add_option("--graph", written, "print one as text for fold_graph (docs/layer_graph_format.md)")
      ->type_name("NAME");
  app.add_flag("--narrow", narrow, "the copy with some ten features");
  return run_command_line(app, argument_count, arguments, [&] {
    Scale const scale = narrow ? Scale::narrow : Scale::real;
    if (!written.empty()) std::cout << find(written).build(scale);
    if (!drawn.empty()) {
      Architecture const& architecture = find(drawn);
      Graph const graph = architecture.build(scale);
      write_dot(std::cout, graph, find_foldable_norms(graph, options_for(architecture, true)));
    }
    return written.empty() && drawn.empty() ? print_table() : 0;
  });
}
