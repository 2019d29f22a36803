// SPDX-License-Identifier: MIT
// examples/end_to_end.cpp -- what a fold brings: whole networks at real sizes, original against folded, beside the
// share of time that norms take, the ceiling that this sets, and what estimate_gain foretold.
//
// Weights are random: latency does not depend on training. Results are compared before anything is timed.
#include "command_line.hpp"
#include "end_to_end/comparison.hpp"
#include "end_to_end/effort_options.hpp"
#include "end_to_end/folds.hpp"
#include "end_to_end/networks.hpp"

#include <foldnorm/graph/estimate_gain.hpp>
#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/measure_costs.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <regex>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace foldnorm;
using end_to_end::Executor;
using end_to_end::FoldTiming;
using end_to_end::Network;
using end_to_end::Timing;

struct Options {
  std::string only = ".*";
  std::vector<int> threads{1, 2};
  end_to_end::Effort effort;
  int placements = 7;
  bool costs = false;
  std::uint64_t seed = 1;
};

// What the executor takes for a node that has hardly anything to compute.
double node_overhead() {
  constexpr int nodes = 256;
  Graph graph;
  NodeId x = graph.input("x", 1);
  for (int i = 0; i < nodes; ++i) x = graph.relu("relu" + std::to_string(i), x);
  graph.output("y", x);
  Executor executor(graph, {}, 1);
  end_to_end::fill_inputs(executor, 1);
  std::array<double, 21> seconds{};
  for (double& value : seconds) value = end_to_end::detail::seconds_of(executor, 1, 100) / nodes;
  return *std::ranges::min_element(seconds);
}

void print_header() {
  std::printf("%-22s %7s %8s %9s  %-10s %6s %6s  %8s %6s %16s %9s  %s\n", "network", "tokens", "threads", "time/us",
              "fold", "norms", "share%", "ceiling%", "gain%", "gain's quartiles", "estimate%", "A/A%, verdict");
}

void print_rows(Network const& network, int threads, Timing const& timing, std::vector<GainEstimate> const& estimates) {
  for (std::size_t f = 0; f < timing.folds.size(); ++f) {
    FoldTiming const& fold = timing.folds[f];
    std::string const norms = std::to_string(estimates[f].folds) + "/" + std::to_string(estimates[f].norms) +
                              (estimates[f].insertions > 0 ? "+" + std::to_string(estimates[f].insertions) : "");
    std::printf("%-22s %7ld %8d %9.1f  %-10s %6s %6.2f  %8.2f %6.2f %7.2f ..%6.2f %9.2f  %.2f, %s\n",
                network.name.c_str(), static_cast<long>(network.tokens), threads, timing.seconds * 1e6,
                end_to_end::fold_names[f], norms.c_str(), 100 * timing.share, 100 * fold.ceiling, 100 * fold.gain(),
                100 * (1 - fold.to_original.upper), 100 * (1 - fold.to_original.lower), 100 * estimates[f].gain(),
                100 * timing.spread(), end_to_end::judge(timing, fold));
  }
  std::fflush(stdout);
}

// The original twice, and its folds.
std::vector<Executor> executors(Graph const& graph, Parameters const& parameters, std::vector<FoldedModel> const& folds,
                                Network const& network, std::uint64_t seed) {
  std::vector<Executor> subjects;
  subjects.reserve(2 + folds.size());
  for (int copy = 0; copy < 2; ++copy) subjects.emplace_back(graph, parameters, network.tokens);
  for (FoldedModel const& folded : folds) subjects.emplace_back(folded.graph, folded.parameters, network.tokens);
  for (Executor& subject : subjects) {
    end_to_end::fill_inputs(subject, seed);
    subject.run();
    double const difference = end_to_end::largest_difference(subjects[0], subject);
    if (!(difference < end_to_end::largest_rounding)) {
      throw std::runtime_error(network.name + ": folded and original differ by " + std::to_string(difference));
    }
  }
  return subjects;
}

// Builds the network and its folds, compares their outputs, and times them.
void compare(Network const& network, Options const& options, std::vector<OperationCosts> const& costs) {
  Graph const graph = network.build(network.width);
  Parameters const parameters = end_to_end::float_parameters(graph, network.tokens, options.seed);
  std::vector<FoldReport> const folds = end_to_end::fold_reports(graph);
  std::vector<FoldedModel> models;
  for (FoldReport const& report : folds) models.push_back(fold_norms(graph, report, parameters));
  std::vector<end_to_end::Comparison> comparisons(options.threads.size());
  std::vector<std::vector<Executor>> elsewhere;  // kept, so that the next copies lie somewhere else
  for (int placement = 0; placement < (network.is_small() ? options.placements : 1); ++placement) {
    std::vector<Executor>& subjects =
        elsewhere.emplace_back(executors(graph, parameters, models, network, options.seed));
    for (std::size_t t = 0; t < options.threads.size(); ++t) {
      Eigen::setNbThreads(options.threads[t]);
      comparisons[t].add_rounds(subjects, options.effort, end_to_end::norm_seconds);
    }
  }
  for (std::size_t t = 0; t < options.threads.size(); ++t) {
    std::vector<GainEstimate> estimates;
    for (FoldReport const& report : folds) {
      estimates.push_back(estimate_gain(graph, report, network.tokens, costs[t]));
    }
    print_rows(network, options.threads[t], comparisons[t].timing(), estimates);
  }
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app{"Forward times of whole networks, original against folded."};
  app.add_option("--only", options.only, "networks whose name and tokens match this expression");
  app.add_option("--threads", options.threads, "numbers of threads")->check(CLI::Range(1, 256));
  app.add_option("--placements", options.placements, "copies of a small network, each somewhere else in memory")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  end_to_end::add_effort_options(app, options.effort);
  app.add_flag("--costs", options.costs, "print the table of costs that the estimates rest on");
  app.add_option("--seed", options.seed, "of weights and inputs")->capture_default_str();
  return run_command_line(app, argument_count, arguments, [&] {
    std::vector<OperationCosts> costs;
    for (int const threads : options.threads) {
      Eigen::setNbThreads(threads);
      costs.push_back(measure_costs());
      costs.back().seconds_per_node = node_overhead();
      if (options.costs) std::cout << "# " << threads << " threads\n" << costs.back();
    }
    print_header();
    std::regex const only(options.only);
    for (Network const& network : end_to_end::networks()) {
      if (std::regex_search(network.name + " " + std::to_string(network.tokens), only)) {
        compare(network, options, costs);
      }
    }
    return 0;
  });
}
