// SPDX-License-Identifier: MIT
// fashion_mnist.cpp -- train an MLP and a Vision Transformer with LayerNorm, fold the norms, and show what changed.
//
// Exit status: 0 if every claim held, 1 if one failed (accuracy below the bar, predictions changed, logits further
// apart than rounding), 2 for a bad command line or data that cannot be read.
#include <foldnorm/graph/find_foldable_norms.hpp>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "training/drawing.hpp"
#include "training/fold_comparison.hpp"
#include "training/mlp.hpp"
#include "training/optimizer.hpp"
#include "training/progress_bar.hpp"
#include "training/save_model.hpp"
#include "training/trainer.hpp"
#include "training/vision_transformer.hpp"

#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <random>
#include <string>
#include <utility>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

struct Options {
  std::uint64_t seed = 1;
  bool shortened = false;
  std::filesystem::path data = fashion_mnist_directory;
  std::filesystem::path out = "out";
  std::filesystem::path save;  // empty: not saved
};

// The least test accuracy that counts as trained, and the length of the training that reaches it.
struct Goal {
  int epochs;
  double accuracy;
};

void print_table(FoldComparison const& c, Goal const& goal) {
  auto const row = [](char const* what, std::string const& before, std::string const& after, std::string const& note) {
    std::printf("  %-29s %10s %10s   %s\n", what, before.c_str(), after.c_str(), note.c_str());
  };
  auto const text = [](char const* format, double value) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format, value);
    return std::string(buffer);
  };
  ForwardTiming const& t = c.timing;
  row("", "as trained", "folded", "");
  row("LayerNorms", std::to_string(c.norms), std::to_string(c.norms - c.folds),
      std::to_string(c.folds) + " of " + std::to_string(c.norms) + " become RMSNorm");
  row("test accuracy", text("%.2f%%", 100 * c.accuracy_before), text("%.2f%%", 100 * c.accuracy_after),
      "at least " + text("%.0f%%", 100 * goal.accuracy) + " required");
  row("predictions changed", "", std::to_string(c.changed),
      "of " + std::to_string(c.images) + "; ties: " + std::to_string(c.ties));
  row("largest logit difference", "", text("%.1e", c.logit_difference),
      "logits to " + text("%.0f", c.largest_logit) + "; float rounds by " + text("%.1e", c.rounding) + " (4x allowed)");
  row("same in double, relative", "", text("%.1e", c.double_difference), "1e-12 allowed");
  auto const ratio = [&](Quartiles const& q) {
    return text("%.3f", q.median) + " (" + text("%.3f", q.lower) + ".." + text("%.3f", q.upper) + ")";
  };
  row("forward, 64 images, 1 thread", text("%.3f ms", 1e3 * t.before), text("%.3f ms", 1e3 * t.after),
      "x " + ratio(t.after_to_before) + "; A/A x " + ratio(t.before_to_before));
  row("share of it in the norms", text("%.1f%%", 100 * t.norm_share_before), text("%.1f%%", 100 * t.norm_share_after),
      "bounds what any fold can gain");
}

// Describes a network, judges its norms, draws it.
template <class Model>
FoldReport show_verdict(std::string const& name, Model const& model, std::filesystem::path const& out) {
  Graph const graph = model.describe();
  FoldReport report = find_foldable_norms(graph);
  std::cout << "  " << parameter_count(model.parameters) << " parameters; " << report.folds() << " of "
            << report.norms.size() << " LayerNorms fold once " << report.centerings.size()
            << " parameters are centered; drawing:";
  for (std::filesystem::path const& file : draw_graph(graph, report, out, name)) std::cout << ' ' << file.string();
  std::cout << std::endl;
  return report;
}

// Folds a trained model and prints what that did to it. Returns whether every claim held.
template <class Model>
bool show_fold(Model const& model, FoldReport const& report, ImageSet const& test, Goal const& goal) {
  FoldComparison const comparison = compare_fold(model, report, test, 500);
  print_table(comparison, goal);
  bool const accurate = comparison.accuracy_before >= goal.accuracy;
  if (!accurate) std::cout << "  FAILED: the accuracy is below the bar\n";
  if (!comparison.graph_is_the_model()) std::cout << "  FAILED: the layer graph computes something else\n";
  if (!comparison.fold_is_exact()) std::cout << "  FAILED: the fold changed the network\n";
  std::cout << std::endl;
  return accurate && comparison.graph_is_the_model() && comparison.fold_is_exact();
}

// Trains on the model's own terms, then folds. Returns whether every claim held.
template <class Model, class Optimizer, class RateAt>
bool train_and_fold(std::string const& name, Model& model, FashionMnist const& data, Goal const& goal, Index batch_size,
                    Optimizer optimizer, RateAt const& rate_at, std::mt19937_64& random, Options const& options) {
  FoldReport const report = show_verdict(name, model, options.out);
  ProgressBar bar("  " + name, goal.epochs);
  train(model, data.train, {.epochs = goal.epochs, .batch_size = batch_size}, std::move(optimizer), rate_at, random,
        [&](double epochs_done, double loss, double share) {
          char note[48];
          std::snprintf(note, sizeof note, "loss %.3f accuracy %4.1f%%", loss, 100 * share);
          bar.update(epochs_done, note);
        });
  if (!options.save.empty()) {
    save_model(model, options.save, name);
    std::cout << "  saved: " << (options.save / name).string() << ".graph, .safetensors\n";
  }
  return show_fold(model, report, data.test, goal);
}

bool show_mlp(FashionMnist const& data, Options const& options) {
  Goal const goal = options.shortened ? Goal{2, 0.84} : Goal{5, 0.86};
  std::mt19937_64 random(options.seed);
  Mlp<float> model({image_pixels, 256, 128, image_classes}, random);
  std::cout << "MLP 784-256-128-10, Linear -> LayerNorm -> ReLU; SGD with momentum\n";
  return train_and_fold(
      "mlp", model, data, goal, 128, Sgd<float>(model.parameters),
      [](double progress) { return warmup_cosine(progress, 0.1, 0.05); }, random, options);
}

// Adds the training images' mirror images, and changes the pixel order of both sets to patches.
bool show_vision_transformer(FashionMnist& data, Options const& options) {
  Goal const goal = options.shortened ? Goal{2, 0.84} : Goal{6, 0.88};
  std::mt19937_64 random(options.seed);
  append_mirrored(data.train);
  for (ImageSet* const set : {&data.train, &data.test}) cut_into_patches(*set, 7);
  VisionTransformer<float> model({.patch_pixels = 49,
                                  .tokens = 16,
                                  .features = 64,
                                  .heads = 4,
                                  .hidden = 256,
                                  .blocks = 2,
                                  .classes = image_classes},
                                 random);
  std::cout << "Vision Transformer, pre-LN, 16 tokens x 64 features, 2 blocks; AdamW; images and mirror images\n";
  return train_and_fold(
      "vit", model, data, goal, 64, AdamW<float>(model.parameters),
      [](double progress) { return warmup_cosine(progress, 0.003, 0.1); }, random, options);
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app("Train two small networks on Fashion-MNIST, fold their LayerNorms into RMSNorms, and compare.");
  app.add_option("--seed", options.seed, "seed of all random numbers")->capture_default_str();
  app.add_flag("--short", options.shortened, "train less, with lower bars: under a minute in all");
  app.add_option("--data", options.data, "folder of the *-ubyte.gz files")->capture_default_str();
  app.add_option("--out", options.out, "folder for the drawings")->capture_default_str();
  app.add_option("--save", options.save, "folder for the trained networks, as fold_graph reads them")->type_name("DIR");
  return run_command_line(app, argument_count, arguments, [&] {
    FashionMnist data = load_fashion_mnist(options.data);
    bool const mlp_holds = show_mlp(data, options);
    bool const transformer_holds = show_vision_transformer(data, options);
    std::cout << (mlp_holds && transformer_holds ? "every claim held\n" : "some claim FAILED\n");
    return mlp_holds && transformer_holds ? 0 : 1;
  });
}
