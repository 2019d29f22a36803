// SPDX-License-Identifier: MIT
// broken_equivalence.cpp -- where training with centered weights and RMSNorm is not LayerNorm's training, is it worse?
// LayerNorm, centered weights with RMSNorm, and plain RMSNorm on five networks in which something breaks the equality,
// from the same values and batches, step by step beside one another.
//
// Exit status: 0, or 2 for a bad command line or data that cannot be read.
#include <foldnorm/graph/find_foldable_norms.hpp>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "training/csv_log.hpp"
#include "training/networks.hpp"
#include "training/paired_training.hpp"
#include "training/progress_bar.hpp"
#include "training/quartiles.hpp"
#include "training/summary.hpp"
#include "training/text_data.hpp"
#include "training/trainer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <set>
#include <string>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

struct Options {
  std::vector<std::uint64_t> seeds{1, 2, 3};
  std::vector<std::string> only;
  Index images = 20'000;
  double length = 1;  // of every training, as a share of its steps
  std::filesystem::path data = fashion_mnist_directory;
  std::filesystem::path text = "out/text/bible.txt";
  std::filesystem::path out = "out/broken_equivalence";
};

// The layers whose outputs reach a norm through sums, dropout and stochastic depth alone, whoever else reads them: what
// the experiment centers. Where the equality holds, it is what the analysis would center.
std::vector<Centering> layers_before_norms(Graph const& graph) {
  std::set<std::string> names;
  std::vector<NodeId> work;
  std::set<NodeId> seen;
  for (Node const& node : graph.nodes()) {
    if (node.op == Operator::layer_norm) work.push_back(node.inputs[0]);
  }
  while (!work.empty()) {
    NodeId const id = work.back();
    work.pop_back();
    if (!seen.insert(id).second) continue;
    Node const& node = graph.node(id);
    switch (node.op) {
      case Operator::add:
      case Operator::dropout:
      case Operator::drop_path:
        work.insert(work.end(), node.inputs.begin(), node.inputs.end());
        break;
      case Operator::add_parameter:
        work.push_back(node.inputs[0]);
        [[fallthrough]];
      case Operator::linear:
      case Operator::embedding:
        for (ParameterId const parameter : node.parameters) {
          if (parameter.present()) names.insert(graph.parameter(parameter).name);
        }
        break;
      default:
        break;
    }
  }
  std::vector<Centering> centerings;
  for (std::string const& name : names) {
    Index const rows = graph.parameter(*graph.find_parameter(name)).rows;
    centerings.push_back({name, {{0, rows}}, rows});
  }
  return centerings;
}

template <class Data>
struct Task {
  std::string name;
  std::string broken_by;
  NormPair networks;
  Data const& train;
  Data const& test;
  Index batch_size;
  int steps;
  double rate;
};

constexpr std::array<char const*, 3> arm_names{"LayerNorm", "centered weights, RMSNorm", "RMSNorm"};

struct Outcome {
  std::vector<double> losses, accuracies;  // on the test set, by seed
  std::vector<double> step_ratios;         // to LayerNorm's step before or after it, of all seeds
};

// One seed: the three trainings in turn, step by step.
template <class Data>
void run_seed(Task<Data> const& task, Options const& options, std::uint64_t seed, std::array<Outcome, 3>& outcomes,
              std::vector<double>& control) {
  auto const make = [](NamedMatrices<float> const& p) { return AnyOptimizer<float>(AdamW<float>(p)); };
  auto const training = [&](WeightCentering centering) {
    return PairedTraining<float>(task.networks, std::move(centering), make, task.networks.template start<float>(seed),
                                 seed);
  };
  std::array trainings{training({}), training(layers_before_norms(task.networks.layer_norm)),
                       training(std::vector<Centering>{})};
  int const steps = std::max(1, static_cast<int>(options.length * task.steps));
  BatchOrder const order(task.train.size(), task.batch_size, seed);
  std::string const title = task.name + ", seed " + std::to_string(seed);
  CsvLog log(options.out / (task.name + "_" + std::to_string(seed) + ".csv"), "step,layer_norm,centered,rms_norm");
  ProgressBar bar("  " + title, steps, "step");
  double before = 0;
  for (int step = 0; step < steps; ++step) {
    double const rate = warmup_cosine(static_cast<double>(step) / steps, task.rate, .05);
    std::array<double, 3> losses{}, seconds{};
    for (std::size_t turn = 0; turn < 3; ++turn) {
      std::size_t const arm = (turn + static_cast<std::size_t>(step)) % 3;
      auto const start = std::chrono::steady_clock::now();
      losses[arm] = trainings[arm].step(task.train, order.batch(step), rate);
      seconds[arm] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    for (std::size_t arm = 0; arm < 3; ++arm) outcomes[arm].step_ratios.push_back(seconds[arm] / seconds[0]);
    if (step > 0) control.push_back(seconds[0] / before);
    before = seconds[0];
    if (step % 10 == 0) log.write({static_cast<double>(step), losses[0], losses[1], losses[2]});
    char note[64];
    std::snprintf(note, sizeof note, "losses %.3f %.3f %.3f", losses[0], losses[1], losses[2]);
    if (step % 100 == 0 || step + 1 == steps) bar.update(step + 1, note);
  }
  for (std::size_t arm = 0; arm < 3; ++arm) {
    LossSums const sums = test(trainings[arm].network(), task.test);
    outcomes[arm].losses.push_back(sums.mean_loss());
    outcomes[arm].accuracies.push_back(sums.accuracy());
  }
}

// Trains all seeds and prints the task's table.
template <class Data>
void run(Task<Data> const& task, Options const& options) {
  if (!options.only.empty() && std::ranges::find(options.only, task.name) == options.only.end()) return;
  Graph const& graph = task.networks.layer_norm;
  FoldReport const report = find_foldable_norms(graph, {.mode = FoldMode::training});
  std::printf("%s, %s: %zu of %zu norms fold in training\n", task.name.c_str(), task.broken_by.c_str(), report.folds(),
              report.norms.size());
  std::set<std::string> culprits;
  for (Verdict const& norm : report.norms) {
    if (!norm.folds()) culprits.insert(std::string(to_string(norm.refusal->reason)));
  }
  for (std::string const& culprit : culprits) std::printf("  kept for: %s\n", culprit.c_str());
  std::array<Outcome, 3> outcomes;
  std::vector<double> control;
  for (std::uint64_t const seed : options.seeds) run_seed(task, options, seed, outcomes, control);
  std::printf("  %-27s %-26s %-22s %s\n", "", "test accuracy, %", "test loss, nats", "time of a step, x");
  for (std::size_t arm = 0; arm < 3; ++arm) {
    Summary const loss = summarize(outcomes[arm].losses);
    char losses[48];
    std::snprintf(losses, sizeof losses, "%.3f (%.3f to %.3f)", loss.mean, loss.least, loss.most);
    Quartiles const ratio = quartiles(arm == 0 ? control : outcomes[arm].step_ratios);
    std::printf("  %-27s %-26s %-22s %.3f (%.3f to %.3f)%s\n", arm_names[arm],
                percent_text(summarize(outcomes[arm].accuracies)).c_str(), losses, ratio.median, ratio.lower,
                ratio.upper, arm == 0 ? ", to its own step before" : "");
  }
  std::printf("\n");
  std::fflush(stdout);
}

NormPair pair_of(auto const& make, auto const& sizes, GraphNetworkOptions const& options) {
  return {make(sizes, NormKind::layer_norm), make(sizes, NormKind::rms_norm), options};
}

// Sixteen patches of 7 x 7 pixels, the four of each quarter of the image side by side: what merges, in Swin.
void cut_into_quartered_patches(ImageSet& set) {
  cut_into_patches(set, 7);
  auto const rows = set.pixels;
  constexpr Index pixels = 49;
  for (Index place = 0; place < 16; ++place) {
    Index const quarter = place / 4, within = place % 4;
    Index const patch = (quarter / 2 * 2 + within / 2) * 4 + quarter % 2 * 2 + within % 2;
    set.pixels.middleRows(place * pixels, pixels) = rows.middleRows(patch * pixels, pixels);
  }
}

void run_images(Options const& options) {
  FashionMnist const whole = load_fashion_mnist(options.data);
  FashionMnist images{part_of(whole.train, 0, std::min(options.images, whole.train.size())), whole.test};
  run(Task<ImageSet>{"mlp", "dropout of 0.2 between linear layer and norm",
                     pair_of(mlp_graph, MlpSizes{.dropout = .2}, {}), images.train, images.test, 128, 1200, .003},
      options);
  run(Task<ImageSet>{"recurrent", "dropout of 0.1 in front of the norm, over the rows of the image",
                     pair_of(recurrent_graph, RecurrentSizes{.dropout = .1}, {}), images.train, images.test, 128, 1200,
                     .003},
      options);
  for (ImageSet* const set : {&images.train, &images.test}) cut_into_quartered_patches(*set);
  run(Task<ImageSet>{"post_norm", "a transformer with its norms behind the sums",
                     pair_of(transformer_graph, TransformerSizes{.placement = NormPlacement::post}, {.tokens = 16}),
                     images.train, images.test, 64, 1000, .001},
      options);
  run(Task<ImageSet>{"merging", "a norm on the patches, and one on four tokens side by side, as in Swin",
                     pair_of(transformer_graph, TransformerSizes{.features = 48, .hidden = 192, .merges = true},
                             {.tokens = 16}),
                     images.train, images.test, 64, 1000, .003},
      options);
}

void run_text(Options const& options) {
  constexpr Index tokens = 64;
  Text text = split_text(read_text(options.text), tokens, .02);
  text.test.ids.resize(std::min<std::size_t>(text.test.ids.size(), 1000 * tokens + 1));
  Index const letters = static_cast<Index>(text.alphabet.size());
  TransformerSizes const sizes{.inputs = letters,
                               .tokens = tokens,
                               .features = 64,
                               .heads = 4,
                               .hidden = 256,
                               .blocks = 2,
                               .classes = letters,
                               .dropout = .1,
                               .reads_text = true};
  run(Task<TextWindows>{"text", "a character-level language model, dropout of 0.1 behind the residual branches",
                        pair_of(transformer_graph, sizes, {.tokens = tokens, .causal = true}), text.train, text.test,
                        32, 1500, .003},
      options);
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app("LayerNorm, centered weights with RMSNorm, and RMSNorm, where the second is not the first.");
  app.add_option("--seeds", options.seeds, "of values, batches and dropout")->capture_default_str();
  app.add_option("--only", options.only, "tasks to run: mlp recurrent post_norm merging text");
  app.add_option("--images", options.images, "to train with")->capture_default_str()->check(CLI::Range(1000, 60'000));
  app.add_option("--length", options.length, "of every training, as a share of its steps")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--data", options.data, "folder of Fashion-MNIST's *-ubyte.gz files")->capture_default_str();
  app.add_option("--text", options.text, "a text file")->capture_default_str();
  app.add_option("--out", options.out, "folder for the tables")->capture_default_str();
  return run_command_line(app, argument_count, arguments, [&] {
    run_images(options);
    run_text(options);
    return 0;
  });
}
