// SPDX-License-Identifier: MIT
// centered_training.cpp -- is training with centered weights and RMSNorm LayerNorm's training, and what does a step of
// it cost? An MLP and a pre-norm transformer on Fashion-MNIST, from the same values and batches.
//
// Exit status: 0 if every claim held, 1 if one failed, 2 for a bad command line or data that cannot be read.
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_norms.hpp>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "training/csv_log.hpp"
#include "training/fold_model.hpp"
#include "training/networks.hpp"
#include "training/paired_training.hpp"
#include "training/plot.hpp"
#include "training/progress_bar.hpp"
#include "training/quartiles.hpp"
#include "training/trainer.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

struct Options {
  std::uint64_t seed = 1;
  int steps = 200;
  int epochs = 2;
  int rounds = 101;
  std::filesystem::path data = fashion_mnist_directory;
  std::filesystem::path out = "out/centered_training";
};

struct Task {
  std::string name;
  NormPair networks;
  ImageSet const& train;
  ImageSet const& test;
  Index batch_size;
};

template <real_scalar Scalar>
struct NamedOptimizer {
  std::string name;
  double rate;
  typename PairedTraining<Scalar>::MakeOptimizer make;
};

template <real_scalar Scalar>
std::vector<NamedOptimizer<Scalar>> optimizers() {
  using Values = NamedMatrices<Scalar>;
  return {{"SGD, momentum", .05, [](Values const& p) { return AnyOptimizer<Scalar>(Sgd<Scalar>(p)); }},
          {"Adam", 1e-3, [](Values const& p) { return AnyOptimizer<Scalar>(AdamW<Scalar>(p, {.decay = 0})); }},
          {"AdamW", 1e-3, [](Values const& p) { return AnyOptimizer<Scalar>(AdamW<Scalar>(p)); }}};
}

// In double, for every optimizer: how far apart the two are after all steps.
bool compare_trajectories(Task const& task, Options const& options) {
  constexpr double allowed = 1e-10;
  bool holds = true;
  std::printf("  %d steps in double            parameters apart    loss apart   loss first, last\n", options.steps);
  for (auto const& [name, rate, make] : optimizers<double>()) {
    auto const start = task.networks.start<double>(options.seed);
    PairedTraining<double> plain(task.networks, {}, make, start, options.seed);
    PairedTraining<double> centered(task.networks, task.networks.centerings(), make, start, options.seed);
    BatchOrder const order(task.train.size(), task.batch_size, options.seed);
    double first = 0, last = 0, apart = 0;
    for (int step = 0; step < options.steps; ++step) {
      last = plain.step(task.train, order.batch(step), rate);
      apart = std::max(apart, std::abs(centered.step(task.train, order.batch(step), rate) - last));
      if (step == 0) first = last;
    }
    double const distance = parameter_distance(plain.stored(), centered.stored());
    bool const good = distance <= allowed && apart <= allowed;
    std::printf("    %-26s %14.1e %13.1e   %.3f, %.3f%s\n", name.c_str(), distance, apart, first, last,
                good ? "" : "   FAILED: above 1e-10");
    std::fflush(stdout);
    holds = holds && good;
  }
  return holds;
}

// In float: how the two drift apart, beside two LayerNorm trainings that sum a batch's gradients in another order.
void show_drift(Task const& task, Options const& options) {
  auto const optimizer = optimizers<float>()[0];
  auto const start = task.networks.start<float>(options.seed);
  PairedTraining<float> plain(task.networks, {}, optimizer.make, start, options.seed);
  PairedTraining<float> reordered(task.networks, {}, optimizer.make, start, options.seed, 1);
  PairedTraining<float> centered(task.networks, task.networks.centerings(), optimizer.make, start, options.seed);
  BatchOrder const order(task.train.size(), task.batch_size, options.seed);
  CsvLog log(options.out / (task.name + "_drift.csv"), "step,centered,reordered");
  std::printf("  %-30s %14s %26s\n", "float, SGD: apart after step", "centered", "LayerNorm, sums reordered");
  for (int step = 1; step <= options.steps; ++step) {
    auto const batch = order.batch(step - 1);
    for (auto* const training : {&plain, &reordered, &centered}) training->step(task.train, batch, optimizer.rate);
    bool const shown = step == 1 || step == 10 || step == 50 || step % 100 == 0;
    if (step > 20 && step % 5 != 0 && !shown) continue;
    double const one = parameter_distance(plain.stored(), centered.stored());
    double const other = parameter_distance(plain.stored(), reordered.stored());
    log.write({static_cast<double>(step), one, other});
    if (shown) std::printf("    %-28d %14.1e %26.1e\n", step, one, other);
  }
}

double seconds_of(auto const& work) {
  auto const start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The centering of a step by itself: V to W, and the gradients in place. Returns medians, as shares of a copy of what
// is centered, and that copy's seconds.
std::array<double, 3> time_centering(NormPair const& pair, NamedMatrices<float> const& parameters, int rounds) {
  std::vector<Centering> const centerings = pair.centerings();
  NamedMatrices<float> from, to;
  for (Centering const& centering : centerings) {
    from[centering.parameter] = to[centering.parameter] = parameters.at(centering.parameter);
  }
  auto const center_all = [&](NamedMatrices<float> const& v, NamedMatrices<float>& w) {
    for (auto const& [name, parts, rows] : centerings) center_parts(parts, v.at(name), w.at(name));
  };
  std::vector<double> weights, gradients, copies;
  for (int round = 0; round < rounds; ++round) {
    weights.push_back(seconds_of([&] { center_all(from, to); }));
    gradients.push_back(seconds_of([&] { center_all(to, to); }));
    copies.push_back(seconds_of([&] {
      for (auto const& [name, m] : from) {
        std::memcpy(to.at(name).data(), m.data(), sizeof(float) * static_cast<std::size_t>(m.size()));
      }
    }));
  }
  double const copy = quartiles(copies).median;
  return {quartiles(weights).median / copy, quartiles(gradients).median / copy, copy};
}

// Seconds of a step on one thread: LayerNorm, centered apart and in place, LayerNorm again, in turn. Prints the ratios
// to LayerNorm.
void show_step_time(Task const& task, Options const& options, Index batch_size) {
  auto const optimizer = optimizers<float>()[0];
  auto const training = [&](WeightCentering const& centering, Stored stored) {
    return PairedTraining<float>(task.networks, centering, optimizer.make, task.networks.start<float>(options.seed),
                                 options.seed, 1, stored);
  };
  WeightCentering const centerings = task.networks.centerings();
  std::array trainings{training({}, Stored::apart), training(centerings, Stored::apart),
                       training(centerings, Stored::in_place), training({}, Stored::apart)};
  constexpr std::size_t count = std::tuple_size_v<decltype(trainings)>;
  BatchOrder const order(task.train.size(), batch_size, options.seed);
  std::array<std::vector<double>, count> seconds, shares;
  for (int round = -3; round < options.rounds; ++round) {  // three to warm up
    for (std::size_t turn = 0; turn < count; ++turn) {
      std::size_t const i = (turn + static_cast<std::size_t>(round + 3)) % count;
      trainings[i].take_norm_seconds();
      double const taken = seconds_of([&] { trainings[i].step(task.train, order.batch(round + 3), 1e-4); });
      if (round < 0) continue;
      seconds[i].push_back(taken);
      shares[i].push_back(trainings[i].take_norm_seconds() / taken);
    }
  }
  auto const ratio = [&](std::size_t i) {
    std::vector<double> ratios;
    for (std::size_t round = 0; round < seconds[0].size(); ++round) {
      ratios.push_back(seconds[i][round] / seconds[0][round]);
    }
    return quartiles(ratios);
  };
  double const step = quartiles(seconds[0]).median;
  auto const [weights, gradients, copy] = time_centering(task.networks, trainings[0].stored(), 10 * options.rounds);
  std::printf("  batch %-4ld step %6.2f ms, norms %.1f%% of it\n", static_cast<long>(batch_size), 1e3 * step,
              100 * quartiles(shares[0]).median);
  constexpr std::array names{"", "centered, V apart", "centered in place", "LayerNorm again"};
  for (std::size_t i = 1; i < count; ++i) {
    Quartiles const times = ratio(i);
    std::printf("    %-18s x %.3f (%.3f..%.3f), norms %.1f%%\n", names[i], times.median, times.lower, times.upper,
                100 * quartiles(shares[i]).median);
  }
  std::printf("    centering of weights %.2f and gradients %.2f copies of them (%.1f us): %.2f%% of the step\n",
              weights, gradients, 1e6 * copy, 100 * (weights + gradients) * copy / step);
  std::fflush(stdout);
}

// Trains with centered weights, then compares predictions: as trained; LayerNorm on V; that, folded.
bool show_predictions(Task const& task, Options const& options) {
  auto const optimizer = optimizers<float>()[0];
  PairedTraining<float> training(task.networks, task.networks.centerings(), optimizer.make,
                                 task.networks.start<float>(options.seed), options.seed);
  BatchOrder const order(task.train.size(), task.batch_size, options.seed);
  int const steps = static_cast<int>(task.train.size() / task.batch_size) * options.epochs;
  ProgressBar bar("  " + task.name, steps, "step");
  for (int step = 0; step < steps; ++step) {
    double const rate = warmup_cosine(static_cast<double>(step) / steps, optimizer.rate, .05);
    char note[32];
    std::snprintf(note, sizeof note, "loss %.3f", training.step(task.train, order.batch(step), rate));
    if (step + 1 == steps || step % 10 == 0) bar.update(step + 1, note);
  }
  Graph const& graph = task.networks.layer_norm;
  NamedMatrices<float> const v = training.stored();
  FoldReport const report = find_foldable_norms(graph);
  FoldedModel const folded = fold_norms(graph, report, to_parameters<float>(v));
  NamedMatrices<float> folded_values;
  for (auto const& [name, value] : v) folded_values[name] = folded.parameters.get<float>(name);
  GraphNetwork<float> const layer_norm(graph, v, task.networks.options);
  GraphNetwork<float> const frozen(folded.graph, folded_values, task.networks.options);

  Matrix<float> const logits = logits_of(training.network(), task.test);
  auto const compare = [&](char const* what, GraphNetwork<float> const& other) {
    Matrix<float> const others = logits_of(other, task.test);
    std::vector<Index> const mine = predictions(logits), theirs = predictions(others);
    Index changed = 0;
    for (std::size_t i = 0; i < mine.size(); ++i) changed += mine[i] != theirs[i];
    std::printf("    %-44s %ld of %ld predictions differ; logits by %.1e\n", what, static_cast<long>(changed),
                static_cast<long>(task.test.size()), static_cast<double>((logits - others).cwiseAbs().maxCoeff()));
    return changed == 0;
  };
  std::printf("  test accuracy %.2f%%, logits to %.0f\n", 100 * accuracy(logits, task.test.labels),
              static_cast<double>(logits.cwiseAbs().maxCoeff()));
  bool const same = compare("LayerNorm with the stored weights:", layer_norm);
  bool const same_folded = compare("the same, folded (fold_norms):", frozen);
  return same && same_folded;
}

void plot_drift(Task const& task, Options const& options) {
  std::string const name = task.name + "_drift";
  plot(options.out, name,
       "set terminal svg size 640,420 font 'sans,12'\nset output '" + name +
           ".svg'\nset datafile separator ','\nset logscale y\nset format y '10^{%L}'\nset key bottom right\n"
           "set xlabel 'step'\nset ylabel 'largest difference of a parameter, relative'\nset grid\nplot '" +
           name +
           ".csv' using 1:2 with lines lw 2 title 'centered weights and RMSNorm', '' using 1:3 with lines lw 2 "
           "title 'LayerNorm, sums in another order'\n");
}

bool show(Task const& task, Options const& options) {
  Graph const& graph = task.networks.layer_norm;
  std::printf("%s: %zu norms, %zu parameters are centered\n", task.name.c_str(), find_foldable_norms(graph).folds(),
              task.networks.centerings().size());
  bool const same_path = compare_trajectories(task, options);
  show_drift(task, options);
  plot_drift(task, options);
  for (Index const batch_size : {64, 512}) show_step_time(task, options, batch_size);
  bool const same_predictions = show_predictions(task, options);
  if (!same_predictions) std::printf("  FAILED: a prediction changed\n");
  std::printf("\n");
  return same_path && same_predictions;
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app("Train with centered weights and RMSNorm beside LayerNorm: the same path, and the time of a step.");
  app.add_option("--seed", options.seed, "seed of all random numbers")->capture_default_str();
  app.add_option("--steps", options.steps, "of the compared trainings")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--epochs", options.epochs, "of the training whose predictions are compared")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--rounds", options.rounds, "of the timing")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--data", options.data, "folder of the *-ubyte.gz files")->capture_default_str();
  app.add_option("--out", options.out, "folder for the tables and plots")->capture_default_str();
  return run_command_line(app, argument_count, arguments, [&] {
    FashionMnist const images = load_fashion_mnist(options.data);
    FashionMnist patches = images;
    for (ImageSet* const set : {&patches.train, &patches.test}) cut_into_patches(*set, 7);
    auto const pair = [](auto const& make, auto const& sizes, Index tokens) {
      return NormPair{make(sizes, NormKind::layer_norm), make(sizes, NormKind::rms_norm), {.tokens = tokens}};
    };
    bool const mlp = show({"mlp", pair(mlp_graph, MlpSizes{}, 1), images.train, images.test, 128}, options);
    bool const transformer = show(
        {"transformer", pair(transformer_graph, TransformerSizes{}, 16), patches.train, patches.test, 64}, options);
    std::printf("transformer with stochastic depth\n");
    bool const depth =
        compare_trajectories({"stochastic_depth", pair(transformer_graph, TransformerSizes{.drop_path = .1}, 16),
                              patches.train, patches.test, 64},
                             options);
    for (auto const& [layers, width] : {std::pair{8, 64}, {24, 32}}) {
      std::printf("\nmlp of %d layers of %d, where norms take more of the time\n", layers, width);
      MlpSizes const narrow{.hidden = std::vector<Index>(static_cast<std::size_t>(layers), width)};
      for (Index const batch_size : {128, 1024}) {
        show_step_time({"narrow", pair(mlp_graph, narrow, 1), images.train, images.test, 128}, options, batch_size);
      }
    }
    bool const holds = mlp && transformer && depth;
    std::cout << (holds ? "\nevery claim held\n" : "\nsome claim FAILED\n");
    return holds ? 0 : 1;
  });
}
