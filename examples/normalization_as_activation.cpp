// SPDX-License-Identifier: MIT
// normalization_as_activation.cpp -- can LayerNorm in groups of features (PLN) stand in for norm and activation? An MLP
// and a small convolutional network with PLN instead of ReLU, and a pre-LN transformer with PLN for its norms.
//
// All arms of a network have the same weights' shapes, images, epochs and grid of learning rates; the rate is chosen on
// validation images, with the first seed. The test images only score.
//
// Exit status: 0, or 2 for a bad command line or data that cannot be read.
#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "training/conv_net.hpp"
#include "training/forward_timing.hpp"
#include "training/mlp.hpp"
#include "training/optimizer.hpp"
#include "training/plot.hpp"
#include "training/progress_bar.hpp"
#include "training/summary.hpp"
#include "training/trainer.hpp"
#include "training/vision_transformer.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

struct Options {
  bool shortened = false;
  Index images = 10'000;
  int epochs = 4;
  std::vector<std::uint64_t> seeds{1, 2, 3};
  std::vector<double> rates{1e-3, 3e-3, 1e-2};  // peaks, of all arms
  std::filesystem::path data = fashion_mnist_directory;
  std::filesystem::path out = "out/normalization_as_activation";
};

constexpr Index batch_size = 64;

// What stands between two linear maps.
struct NamedNonlinearity {
  std::string name;
  Nonlinearity nonlinearity;
};

std::vector<NamedNonlinearity> nonlinearities() {
  return {{"neither", {.norm = false, .relu = false}},
          {"ReLU", {.norm = false}},
          {"LN + ReLU", {}},
          {"LN", {.relu = false}},
          {"PLN-16", {.norm_size = 16, .relu = false}},
          {"PLN-8", {.norm_size = 8, .relu = false}},
          {"PLN-4", {.norm_size = 4, .relu = false}}};
}

template <class Model>
struct Arm {
  std::string name;
  std::function<Model(std::mt19937_64&)> make;
};

std::vector<Arm<Mlp<float>>> mlp_arms() {
  std::vector<Arm<Mlp<float>>> arms;
  for (auto const& [name, between] : nonlinearities()) {
    arms.push_back({name, [between = between](std::mt19937_64& random) {
                      return Mlp<float>(image_pixels, {{256, between}, {128, between}}, image_classes, random);
                    }});
  }
  return arms;
}

std::vector<Arm<ConvNet<float>>> conv_net_arms() {
  std::vector<Arm<ConvNet<float>>> arms;
  for (auto const& [name, between] : nonlinearities()) {
    arms.push_back({name, [between = between](std::mt19937_64& random) {
                      return ConvNet<float>(image_side, {{32, 2, between}, {32, 2, between}, {64, 1, between}},
                                            image_classes, random);
                    }});
  }
  return arms;
}

// Those of the demo: norms on the stream (norm size), and what the MLP has between its two linear maps.
std::vector<Arm<VisionTransformer<float>>> transformer_arms() {
  Nonlinearity const relu{.norm = false};
  std::vector<Arm<VisionTransformer<float>>> arms;
  auto const add = [&](std::string const& name, Index norm_size, Nonlinearity const& mlp) {
    arms.push_back({name, [=](std::mt19937_64& random) {
                      return VisionTransformer<float>({.patch_pixels = 49,
                                                       .tokens = 16,
                                                       .features = 64,
                                                       .heads = 4,
                                                       .hidden = 256,
                                                       .blocks = 2,
                                                       .classes = image_classes,
                                                       .norm_size = norm_size,
                                                       .mlp = mlp},
                                                      random);
                    }});
  };
  add("LN, ReLU", 0, relu);
  for (Index const norm_size : {16, 8, 4}) add("PLN-" + std::to_string(norm_size) + ", ReLU", norm_size, relu);
  add("LN, neither", 0, {.norm = false, .relu = false});
  add("LN, PLN-8", 0, {.norm_size = 8, .relu = false});
  return arms;
}

struct Sets {
  ImageSet train, validation, test;
};

// The last 5,000 training images choose.
Sets split(FashionMnist data, Index train_images) {
  Index const validation = 5000;
  return {part_of(data.train, 0, train_images), part_of(data.train, data.train.size() - validation, validation),
          std::move(data.test)};
}

// A row of the table.
struct Outcome {
  std::string network, arm;
  Index parameters = 0;
  double rate = 0, validation = 0;  // the rate chosen, and the first seed's accuracy there
  Summary test;                     // accuracy over the seeds
  Quartiles step;                   // seconds
};

// One training of an arm; `report(progress in [0, 1], loss)`.
template <class Model, class Report>
Model trained(Arm<Model> const& arm, Sets const& sets, double rate, std::uint64_t seed, int epochs,
              Report const& report) {
  std::mt19937_64 random(seed);
  Model model = arm.make(random);
  train(
      model, sets.train, {.epochs = epochs, .batch_size = batch_size}, AdamW<float>(model.parameters),
      [&](double progress) { return warmup_cosine(progress, rate, 0.1); }, random,
      [&](double epochs_done, double loss, double) { report(epochs_done / epochs, loss); });
  return model;
}

template <class Model>
Outcome score(std::string const& network, Arm<Model> const& arm, Sets const& sets, Options const& options) {
  Outcome best{
      .network = network, .arm = arm.name, .parameters = 0, .rate = 0, .validation = 0, .test = {}, .step = {}};
  std::vector<double> tests;
  int const trainings = static_cast<int>(options.rates.size() + options.seeds.size() - 1);
  ProgressBar bar("  " + network + ", " + arm.name, trainings, "training");
  int done = 0;
  auto const train_once = [&](double rate, std::uint64_t seed) {
    Model model = trained(arm, sets, rate, seed, options.epochs, [&](double progress, double loss) {
      char note[40];
      std::snprintf(note, sizeof note, "rate %g loss %.3f", rate, loss);
      bar.update(done + progress, note);
    });
    ++done;
    return model;
  };
  for (double const rate : options.rates) {
    Model const model = train_once(rate, options.seeds.front());
    double const validation = accuracy(logits_of(model, sets.validation), sets.validation.labels);
    if (best.rate > 0 && validation <= best.validation) continue;
    best.rate = rate;
    best.validation = validation;
    best.parameters = parameter_count(model.parameters);
    tests = {accuracy(logits_of(model, sets.test), sets.test.labels)};
  }
  for (std::size_t i = 1; i < options.seeds.size(); ++i) {
    Model const model = train_once(best.rate, options.seeds[i]);
    tests.push_back(accuracy(logits_of(model, sets.test), sets.test.labels));
  }
  best.test = summarize(tests);
  return best;
}

// Forward and backward pass of a batch on one thread, seconds; the arms in turn, so that all meet the same machine.
template <class Model>
std::vector<Quartiles> time_steps(std::vector<Arm<Model>> const& arms, ImageSet const& images, int rounds) {
  struct Subject {
    Model model;
    typename Model::Activations activations;
    NamedMatrices<float> gradients;
    std::vector<double> seconds;
  };
  std::vector<Subject> subjects;
  for (Arm<Model> const& arm : arms) {
    std::mt19937_64 random(1);
    Model model = arm.make(random);
    NamedMatrices<float> gradients = zeros_like(model.parameters);
    subjects.push_back({std::move(model), {}, std::move(gradients), {}});
  }
  std::vector<Index> chosen(static_cast<std::size_t>(batch_size));
  std::iota(chosen.begin(), chosen.end(), Index{0});
  Matrix<float> pixels, dlogits;
  gather_images(images, chosen, pixels);
  std::vector<int> const labels(images.labels.begin(), images.labels.begin() + batch_size);
  for (int round = -1; round < rounds; ++round) {  // the first warms up
    for (Subject& subject : subjects) {
      auto const start = std::chrono::steady_clock::now();
      auto const x = as_input(subject.model, pixels);
      softmax_cross_entropy(subject.model.forward(x, subject.activations), labels, 1.0f, dlogits);
      subject.model.backward(x, dlogits, subject.activations, subject.gradients);
      std::chrono::duration<double> const taken = std::chrono::steady_clock::now() - start;
      if (round >= 0) subject.seconds.push_back(taken.count());
    }
  }
  std::vector<Quartiles> steps;
  for (Subject const& subject : subjects) steps.push_back(quartiles(subject.seconds));
  return steps;
}

template <class Model>
void compare(std::string const& network, std::vector<Arm<Model>> const& arms, Sets const& sets, Options const& options,
             std::vector<Outcome>& outcomes) {
  std::size_t const first = outcomes.size();
  for (Arm<Model> const& arm : arms) outcomes.push_back(score(network, arm, sets, options));
  std::vector<Quartiles> const steps = time_steps(arms, sets.train, options.shortened ? 20 : 200);
  for (std::size_t i = 0; i < steps.size(); ++i) outcomes[first + i].step = steps[i];
}

void print_table(std::vector<Outcome> const& outcomes) {
  std::printf("\n  %-12s %-14s %10s %8s %14s %26s %26s\n", "network", "arm", "parameters", "rate", "validation, %",
              "test accuracy, %", "step of 64 images, ms");
  for (Outcome const& o : outcomes) {
    char step[48];
    std::snprintf(step, sizeof step, "%.2f (%.2f to %.2f)", 1e3 * o.step.median, 1e3 * o.step.lower,
                  1e3 * o.step.upper);
    std::printf("  %-12s %-14s %10td %8g %14.2f %26s %26s\n", o.network.c_str(), o.arm.c_str(), o.parameters, o.rate,
                100 * o.validation, percent_text(o.test).c_str(), step);
  }
  std::printf("  accuracy: mean of the seeds (least to most); step: forward and backward, one thread, quartiles\n");
}

constexpr char const* table_name = "normalization_as_activation.csv";

// The table, and the picture where gnuplot is installed.
void write(std::vector<Outcome> const& outcomes, std::filesystem::path const& out, std::ofstream table) {
  table << "network;arm;parameters;rate;validation;mean;least;most;step_ms;step_ms_lower;step_ms_upper\n";
  for (Outcome const& o : outcomes) {
    table << o.network << ';' << o.arm << ';' << o.parameters << ';' << o.rate << ';' << o.validation << ';'
          << o.test.mean << ';' << o.test.least << ';' << o.test.most << ';' << 1e3 * o.step.median << ';'
          << 1e3 * o.step.lower << ';' << 1e3 * o.step.upper << '\n';
  }
  table.close();
  if (!table) throw std::runtime_error((out / table_name).string() + ": cannot be written");
  std::ostringstream script;
  script << "set terminal svg size 1080,340 font 'sans,12' background 'white'\n"
            "set output 'normalization_as_activation.svg'\nset datafile separator ';'\nunset key\nset grid x\n"
            "set offsets graph 0.05, graph 0.05, 0.5, 0.5\nset xtics rotate by -45\n"
            "set xlabel 'test accuracy, %'\nset multiplot layout 1,3\n";
  for (std::size_t first = 0, end = 0; first < outcomes.size(); first = end) {
    for (end = first; end < outcomes.size() && outcomes[end].network == outcomes[first].network;) ++end;
    script << "set title '" << outcomes[first].network
           << "'\nplot 'normalization_as_activation.csv' skip 1 every ::" << first << "::" << end - 1
           << " using (100*$6):(-$0):(100*$7):(100*$8):ytic(2) with xerrorbars pt 7 lw 2\n";
  }
  script << "unset multiplot\n";
  bool const drawn = plot(out, "normalization_as_activation", script.str());
  std::cout << "  data" << (drawn ? " and picture" : "; the picture needs gnuplot") << ": " << out.string() << '\n';
}

void run(Options const& options) {
  std::filesystem::create_directories(options.out);
  std::ofstream table(options.out / table_name);  // now, before hours of work
  if (!table) throw std::runtime_error((options.out / table_name).string() + ": cannot be written");
  Sets sets = split(load_fashion_mnist(options.data), options.images);
  std::printf("%td training images, %d epochs, batches of %td, AdamW with warm-up and cosine\n", options.images,
              options.epochs, batch_size);
  std::vector<Outcome> outcomes;
  compare("MLP", mlp_arms(), sets, options, outcomes);
  compare("conv net", conv_net_arms(), sets, options, outcomes);
  for (ImageSet* const set : {&sets.train, &sets.validation, &sets.test}) cut_into_patches(*set, 7);
  compare("transformer", transformer_arms(), sets, options, outcomes);
  print_table(outcomes);
  write(outcomes, options.out, std::move(table));
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app("Fashion-MNIST with LayerNorm in groups of features (PLN) in place of ReLU, or of LayerNorm.");
  app.add_flag("--short", options.shortened, "1,000 images, one epoch, one seed, one rate: under 40 s");
  app.add_option("--images", options.images, "training images")->check(CLI::Range(64, 55'000))->capture_default_str();
  app.add_option("--epochs", options.epochs, "passes over them")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--seed", options.seeds, "seeds of weights and order")->capture_default_str();
  app.add_option("--rate", options.rates, "peak learning rates to choose from")->capture_default_str();
  app.add_option("--data", options.data, "folder of the *-ubyte.gz files")->capture_default_str();
  app.add_option("--out", options.out, "folder for data and picture")->capture_default_str();
  return run_command_line(app, argument_count, arguments, [&] {
    if (options.shortened) {
      options.images = 1000;
      options.epochs = 1;
      options.seeds.resize(1);
      options.rates = {3e-3};
    }
    run(options);
    return 0;
  });
}
