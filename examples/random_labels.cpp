// SPDX-License-Identifier: MIT
// random_labels.cpp -- how many random labels of real images do deep networks of linear layers fit under a training
// budget, when LayerNorm, LayerNorm in groups (PLN), ReLU or nothing stands between them?
//
// The images are averaged down to 7x7: on all 784 pixels (--side 28 --images 1000) linear layers fit nearly every one
// of a thousand random labels as well, and the comparison is empty. What is shown is training accuracy after a fixed
// number of epochs, not capacity.
//
// Exit status: 0, or 2 for a bad command line or data that cannot be read.
#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "training/mlp.hpp"
#include "training/optimizer.hpp"
#include "training/plot.hpp"
#include "training/progress_bar.hpp"
#include "training/summary.hpp"
#include "training/trainer.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

struct Options {
  bool shortened = false;
  Index images = 4000;
  Index side = 7;  // in pixels, to which the images are averaged down
  int draws = 5;
  int epochs = 60;
  std::uint64_t seed = 1;
  std::vector<double> rates{1e-3, 4e-3};  // peaks of Adam's rate; the same choice for all arms
  std::filesystem::path data = fashion_mnist_directory;
  std::filesystem::path out = "out/random_labels";
};

constexpr Index width = 64;
constexpr Index batch_size = 100;

struct Arm {
  std::string name;
  Nonlinearity nonlinearity;
};

std::vector<Arm> arms() {
  return {{"linear", {.norm = false, .relu = false}},
          {"LN", {.affine = false, .relu = false}},
          {"PLN-8", {.norm_size = 8, .affine = false, .relu = false}},
          {"PLN-4", {.norm_size = 4, .affine = false, .relu = false}},
          {"ReLU", {.norm = false}}};
}

// Training accuracies of the draws.
struct Outcome {
  std::string arm;
  std::size_t depth = 0;
  double rate = 0;  // 0: no training
  Summary accuracy;
  bool chosen = true;  // is the mean the best of the rates'?
};

// The same images, every label drawn anew.
ImageSet with_random_labels(ImageSet images, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<int> label(0, image_classes - 1);
  for (int& value : images.labels) value = label(random);
  return images;
}

// The share of the commonest label: what a constant answer gets right.
double commonest_share(std::vector<int> const& labels) {
  std::array<int, image_classes> counts{};
  for (int const label : labels) ++counts[static_cast<std::size_t>(label)];
  return static_cast<double>(*std::max_element(counts.begin(), counts.end())) / static_cast<double>(labels.size());
}

double trained_accuracy(ImageSet const& images, std::vector<HiddenBlock> const& hidden, double rate,
                        Options const& options, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Mlp<float> model(images.pixels.rows(), hidden, image_classes, random);
  train(
      model, images, {.epochs = options.epochs, .batch_size = batch_size}, AdamW<float>(model.parameters, {.decay = 0}),
      [&](double done) { return warmup_cosine(done, rate, 0.05); }, random, [](double, double, double) {});
  return accuracy(logits_of(model, images), images.labels);
}

// Trains on every draw with every rate: an outcome per rate.
std::vector<Outcome> fit(Arm const& arm, std::size_t depth, std::vector<ImageSet> const& draws,
                         Options const& options) {
  std::vector<HiddenBlock> const hidden(depth, {width, arm.nonlinearity});
  int const trainings = static_cast<int>(draws.size() * options.rates.size());
  ProgressBar bar("  " + arm.name + ", " + std::to_string(depth) + " hidden layers:", trainings, "training");
  int done = 0;
  std::vector<Outcome> outcomes;
  for (double const rate : options.rates) {
    std::vector<double> accuracies;
    for (std::size_t draw = 0; draw < draws.size(); ++draw) {
      accuracies.push_back(trained_accuracy(draws[draw], hidden, rate, options, options.seed + draw));
      char note[40];
      std::snprintf(note, sizeof note, "rate %g: %.3f", rate, accuracies.back());
      bar.update(++done, note);
    }
    outcomes.push_back({arm.name, depth, rate, summarize(accuracies), false});
  }
  std::ranges::max_element(outcomes, {}, [](Outcome const& o) { return o.accuracy.mean; })->chosen = true;
  return outcomes;
}

void print_table(std::vector<Outcome> const& outcomes) {
  std::printf("\n  training accuracy, %%: mean of the draws (least to most)\n");
  std::printf("  %-20s %14s %26s %16s\n", "arm", "hidden layers", "training accuracy, %", "rate chosen");
  for (Outcome const& o : outcomes) {
    if (!o.chosen) continue;
    std::printf("  %-20s %14zu %26s %16s\n", o.arm.c_str(), o.depth, percent_text(o.accuracy).c_str(),
                o.rate > 0 ? short_text(o.rate).c_str() : "-");
  }
}

// random_labels.csv, and the picture where gnuplot is installed.
void write(std::vector<Outcome> const& outcomes, double chance, std::filesystem::path const& out) {
  std::filesystem::create_directories(out);
  std::ofstream table(out / "random_labels.csv");
  table << "arm,hidden_layers,rate,mean,least,most,chosen\n";
  for (Outcome const& o : outcomes) {
    table << o.arm << ',' << o.depth << ',' << o.rate << ',' << o.accuracy.mean << ',' << o.accuracy.least << ','
          << o.accuracy.most << ',' << o.chosen << '\n';
  }
  table.close();
  std::ostringstream script;
  script << "set terminal svg size 720,420 font 'sans,12' background 'white'\nset output 'random_labels.svg'\n"
            "set datafile separator ','\nset datafile missing NaN\nset key outside\nset logscale x 2\nset xrange "
            "[1.7:9.5]\nset xtics (2, 4, 8)\n"
            "set yrange [0:*]\nset xlabel 'hidden layers of 64 features'\nset ylabel 'training accuracy, %'\n"
            "set title 'Random labels: what fits in the training budget'\nplot \\\n";
  for (Arm const& arm : arms()) {
    script << "  'random_labels.csv' skip 1 using ($7 == 1 && strcol(1) eq '" << arm.name
           << "' ? $2 : NaN):(100*$4):(100*$5):(100*$6) with yerrorlines lw 2 title '" << arm.name << "', \\\n";
  }
  script << "  " << 100 * chance << " with lines dt 2 lc 'gray' title 'commonest label'\n";
  bool const drawn = plot(out, "random_labels", script.str());
  std::cout << "  data" << (drawn ? " and picture" : "; the picture needs gnuplot") << ": " << out.string() << '\n';
}

void run(Options const& options) {
  ImageSet const images =
      average_down(part_of(load_fashion_mnist(options.data).train, 0, options.images), options.side);
  std::vector<ImageSet> draws;
  std::vector<double> commonest;
  for (int draw = 0; draw < options.draws; ++draw) {
    draws.push_back(with_random_labels(images, options.seed + 1000 + static_cast<std::uint64_t>(draw)));
    commonest.push_back(commonest_share(draws.back().labels));
  }
  std::printf(
      "Random labels (10 classes) of %td images of %tdx%td pixels, hidden layers of %td features;\n"
      "Adam without decay, batches of %td, %d epochs, %d draws of labels and weights\n",
      options.images, options.side, options.side, width, batch_size, options.epochs, options.draws);
  std::vector<Outcome> outcomes{{.arm = "commonest label", .accuracy = summarize(commonest)}};
  auto const add = [&](Arm const& arm, std::size_t depth) {
    std::ranges::move(fit(arm, depth, draws, options), std::back_inserter(outcomes));
  };
  add({"softmax regression", {}}, 0);
  for (std::size_t const depth : {2u, 4u, 8u}) {
    for (Arm const& arm : arms()) add(arm, depth);
  }
  print_table(outcomes);
  write(outcomes, outcomes.front().accuracy.mean, options.out);
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app(
      "Random labels of Fashion-MNIST: what linear, LayerNorm, PLN and ReLU networks fit in a training budget.");
  app.add_flag("--short", options.shortened, "one draw and a sixth of the epochs: under half a minute");
  auto* const draws = app.add_option("--draws", options.draws, "draws of labels and initial weights");
  auto* const epochs = app.add_option("--epochs", options.epochs, "passes over the images");
  draws->check(CLI::Range(1, 100))->capture_default_str();
  epochs->check(CLI::Range(1, 10'000))->capture_default_str();
  app.add_option("--images", options.images, "how many")
      ->check(CLI::Range(batch_size, Index{60'000}))
      ->capture_default_str();
  app.add_option("--side", options.side, "average the images down to so many pixels a side; 28: leave them")
      ->check(CLI::IsMember({1, 2, 4, 7, 14, 28}))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "the first draw's seed; the others follow")->capture_default_str();
  app.add_option("--rate", options.rates, "peak learning rates to choose from")->capture_default_str();
  app.add_option("--data", options.data, "folder of the *-ubyte.gz files")->capture_default_str();
  app.add_option("--out", options.out, "folder for data and picture")->capture_default_str();
  return run_command_line(app, argument_count, arguments, [&] {
    if (options.shortened && draws->empty()) options.draws = 1;
    if (options.shortened && epochs->empty()) options.epochs = 10;
    run(options);
    return 0;
  });
}
