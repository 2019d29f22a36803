// SPDX-License-Identifier: MIT
// examples/onnx_end_to_end.cpp -- what a fold brings in ONNX Runtime: the networks of end_to_end, written as ONNX, or
// models in files, original against folded, beside the share of time that norms take.
//
// Weights of the networks are random: latency does not depend on training. Outputs are compared before anything is
// timed.
#include "command_line.hpp"
#include "end_to_end/effort_options.hpp"
#include "end_to_end/folds.hpp"
#include "end_to_end/networks.hpp"
#include "end_to_end/onnx_subject.hpp"
#include "end_to_end/paired_timing.hpp"
#include "onnx/certificate.hpp"
#include "onnx/input_arguments.hpp"
#include "onnx/optimized_model.hpp"
#include "onnx/temporary_folder.hpp"

#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/onnx/fold_model.hpp>
#include <foldnorm/onnx/write_model.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <regex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace foldnorm;
using end_to_end::FoldTiming;
using end_to_end::Network;
using end_to_end::OnnxSubject;
using end_to_end::Timing;

struct Options {
  std::string only = ".*";
  std::vector<std::string> models;  // original, folded, original, folded, ...
  std::vector<int> threads{1, 2};
  end_to_end::Effort effort;
  int placements = 4;
  int extra = 16;  // norms behind each one, where norms are timed
  onnx_models::InputArguments inputs;
};

struct Model {
  onnx::ModelProto proto;
  std::string fold;   // what was done to it
  std::string norms;  // folded of all
  std::string data_folder = {};
};

// The original first, then its folds.
struct Comparison {
  std::string name;
  std::string tokens;
  std::vector<Model> models;
  onnx_models::InputOptions inputs;
};

// What fold_onnx makes of the original with --target onnxruntime --insert-centering --fold-affine --untie.
void add_folded_by_tool(std::vector<Model>& models) {
  onnx_models::TemporaryFolder const folder;
  std::filesystem::path const path = folder.path() / "model.onnx";
  write_onnx_model(path, models[0].proto);
  FoldedOnnx folded = fold_onnx_model(
      OnnxFile(path),
      {.tied = TiedTables::untie, .affine = true, .insert_centering = true, .target = OnnxTarget::onnxruntime});
  if (!folded.changes()) return;
  models.push_back(
      {std::move(folded.model), "fold_onnx", std::to_string(folded.folds()) + "/" + std::to_string(folded.norms())});
}

Comparison comparison_of(Network const& network, onnx_models::InputOptions inputs) {
  Graph const graph = network.build(network.width);
  Parameters const parameters = end_to_end::float_parameters(graph, network.tokens, inputs.seed);
  OnnxOptions options{OnnxTarget::onnxruntime, network.tokens};
  for (Node const& node : graph.nodes()) {
    if (node.op == Operator::ids) inputs.ranges[node.name] = {0, node.count(Key::vocab) - 1};
  }
  std::vector<Model> models{{onnx_model(graph, parameters, options), "", ""}};
  std::vector<FoldReport> const reports = end_to_end::fold_reports(graph);
  auto const add = [&](FoldReport const& report, std::string fold) {
    FoldedModel const folded = fold_norms(graph, report, parameters);
    std::size_t const inserted = report.placement ? report.placement->insertions() : 0;
    models.push_back({onnx_model(folded.graph, folded.parameters, options), std::move(fold),
                      std::to_string(report.folds()) + "/" + std::to_string(report.norms.size()) +
                          (inserted > 0 ? "+" + std::to_string(inserted) : "")});
  };
  for (std::size_t f = 0; f < reports.size(); ++f) add(reports[f], end_to_end::fold_names[f]);
  add_folded_by_tool(models);
  return {network.name, std::to_string(network.tokens), std::move(models), std::move(inputs)};
}

Comparison comparison_of(std::string const& original, std::string const& folded,
                         onnx_models::InputOptions const& inputs) {
  Comparison comparison{std::filesystem::path(original).filename().string(), "", {}, inputs};
  for (std::filesystem::path const path : {original, folded}) {
    OnnxFile const file(path.string());
    std::filesystem::path const folder = std::filesystem::absolute(path).parent_path();
    comparison.models.push_back(
        {onnx_models::optimized_model({file.model(), folder}), "as given", "", folder.string()});
  }
  return comparison;
}

void require_equal_outputs(Comparison const& comparison, OnnxSubject const& original, OnnxSubject const& folded) {
  auto const expected = original.outputs(), actual = folded.outputs();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    double const apart = onnx_models::detail::difference("output", expected[i], actual.at(i)).relative;
    if (apart < end_to_end::largest_rounding) continue;
    throw std::runtime_error(comparison.name + ": folded and original differ by " + std::to_string(apart));
  }
}

void print_header() {
  std::printf("%-22s %7s %8s %9s  %-10s %7s %6s  %8s %6s %16s  %s\n", "network", "tokens", "threads", "time/us", "fold",
              "norms", "share%", "ceiling%", "gain%", "gain's quartiles", "A/A%, verdict");
}

void print_rows(Comparison const& comparison, int threads, Timing const& timing) {
  for (std::size_t f = 0; f < timing.folds.size(); ++f) {
    FoldTiming const& fold = timing.folds[f];
    Model const& model = comparison.models[f + 1];
    std::printf("%-22s %7s %8d %9.1f  %-10s %7s %6.2f  %8.2f %6.2f %7.2f ..%6.2f  %.2f, %s\n", comparison.name.c_str(),
                comparison.tokens.c_str(), threads, timing.seconds * 1e6, model.fold.c_str(), model.norms.c_str(),
                100 * timing.share, 100 * fold.ceiling, 100 * fold.gain(), 100 * (1 - fold.to_original.upper),
                100 * (1 - fold.to_original.lower), 100 * timing.spread(), end_to_end::judge(timing, fold));
  }
  std::fflush(stdout);
}

// The original and its copy, and the folds; outputs are compared.
std::vector<OnnxSubject> load(Comparison const& comparison, int threads, int extra) {
  std::vector<OnnxSubject> subjects;
  auto const add = [&](Model const& model, int repetitions) {
    subjects.emplace_back(model.proto, comparison.inputs, threads, repetitions, model.data_folder);
  };
  add(comparison.models[0], extra);
  add(comparison.models[0], 0);
  for (std::size_t f = 1; f < comparison.models.size(); ++f) {
    add(comparison.models[f], extra);
    require_equal_outputs(comparison, subjects[0], subjects.back());
  }
  return subjects;
}

void compare(Comparison const& comparison, Options const& options) {
  constexpr std::size_t small = 64 << 20;  // in bytes
  for (int const threads : options.threads) {
    std::vector<std::vector<OnnxSubject>> elsewhere;  // small ones are kept, so that the next lie somewhere else
    end_to_end::Comparison timed;
    int norms = 0;
    for (int placement = 0; placement < options.placements; ++placement) {
      if (comparison.models[0].proto.ByteSizeLong() > small) elsewhere.clear();
      std::vector<OnnxSubject>& subjects = elsewhere.emplace_back(load(comparison, threads, options.extra));
      norms = subjects[0].norms();
      timed.add_rounds(subjects, options.effort, [&](auto& subject, double, int runs) {
        return end_to_end::repeated_norm_seconds(subject, options.extra, runs);
      });
    }
    if (norms == 0) {
      std::printf("# %s has no norm that is an operator of its own: share and ceiling are unknown\n",
                  comparison.name.c_str());
    }
    print_rows(comparison, threads, timed.timing());
  }
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app{"Forward times in ONNX Runtime, original against folded."};
  app.add_option("--only", options.only, "networks whose name and tokens match this expression");
  app.add_option("--model", options.models, "ORIGINAL.onnx FOLDED.onnx, instead of the networks; any number of times");
  app.add_option("--threads", options.threads, "numbers of threads")->check(CLI::Range(1, 256));
  end_to_end::add_effort_options(app, options.effort);
  app.add_option("--placements", options.placements, "sessions of each model, elsewhere in memory each time")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--extra", options.extra, "norms behind each one, where norms are timed")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  options.inputs.add_to(app);
  return run_command_line(app, argument_count, arguments, [&] {
    if (options.models.size() % 2 != 0) throw std::invalid_argument("--model takes pairs of files");
    std::printf("# ONNX Runtime %s\n", onnx_runtime::version().c_str());
    print_header();
    for (std::size_t i = 0; i < options.models.size(); i += 2) {
      compare(comparison_of(options.models[i], options.models[i + 1], options.inputs.read()), options);
    }
    std::regex const only(options.only);
    for (Network const& network : end_to_end::networks()) {
      if (!options.models.empty() || !std::regex_search(network.name + " " + std::to_string(network.tokens), only)) {
        continue;
      }
      compare(comparison_of(network, options.inputs.read()), options);
    }
    return 0;
  });
}
