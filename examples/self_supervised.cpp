// SPDX-License-Identifier: MIT
// self_supervised.cpp -- learn features of Fashion-MNIST without labels, with INTL and with the parts it is made of,
// and judge them: has the embedding collapsed, and what does a linear classifier find?
//
// Exit status: 0 if every claim held, 1 if one failed, 2 for a bad command line or data that cannot be read.
#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "training/embedding_measures.hpp"
#include "training/linear_probe.hpp"
#include "training/plot.hpp"
#include "training/progress_bar.hpp"
#include "training/view_losses.hpp"
#include "training/view_trainer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <numeric>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

struct Options {
  std::vector<std::uint64_t> seeds{1};
  bool shortened = false;
  int epochs = 8;
  double rate = 5e-3;
  std::filesystem::path data = fashion_mnist_directory;
  std::filesystem::path out = "out/self_supervised";
};

constexpr std::size_t encoder_blocks = 2;  // 784-512-256; the projector behind it is thrown away after training

using Loss = std::function<ViewLoss(Views, ViewGradients)>;

// Chosen on the validation set, with seed 1 and 4 epochs: the rate (1e-3 to 6e-3), the decay, the augmentation and the
// trace loss's weight, twice the rule's. The same for all arms.
constexpr float weight_decay = 0.05f;

// Something that learns from views.
struct Arm {
  std::string name;
  Index batch, embedding;
  Loss loss;
};

std::vector<Arm> arms(Options const& options) {
  auto const intl = [](double weight, WhitenedVariables variables) {
    return Intl{{.trace_weight = weight, .variables = variables}};
  };
  std::vector<Arm> result{
      {"INTL", 128, 256, intl(2 * trace_weight(128), WhitenedVariables::samples)},
      {"IterNorm without trace loss", 128, 256, intl(0, WhitenedVariables::samples)},
      {"alignment alone", 128, 256, AlignmentAlone{}},
  };
  if (options.shortened) return result;
  result.push_back({"INTL over features", 256, 128, intl(2 * trace_weight(128), WhitenedVariables::features)});
  for (double const eps : {1e-1, 1e-2, 1e-3}) {
    char name[32];
    std::snprintf(name, sizeof name, "ZCA, eps %.0e", eps);
    result.push_back({name, 256, 128, WhitenedAlignment(128, eps)});
  }
  return result;
}

struct Sets {
  ImageSet train, validation, test;
};

// The last 5,000 training images choose; the test set only scores.
Sets split(FashionMnist data, bool shortened) {
  Index const validation = 5000, train = data.train.size() - validation;
  return {part_of(data.train, 0, shortened ? 20'000 : train), part_of(data.train, train, validation),
          std::move(data.test)};
}

// What a table's row holds; measures are empty where there is no embedding.
struct Outcome {
  std::string name;
  double seconds = 0;
  std::optional<ViewTraining> training = {};
  std::optional<EmbeddingMeasures> before = {}, after = {};
  ProbeScore probe = {}, few = {};  // all labels; 10 labels a class, mean of the draws
};

// Judges features, a sample a column, of the three sets.
void judge(Outcome& outcome, Sets const& sets, std::function<Matrix<float>(ImageSet const&)> const& features,
           Options const& options, std::uint64_t seed) {
  LabelledFeatures train{features(sets.train), sets.train.labels};
  LabelledFeatures validation{features(sets.validation), sets.validation.labels};
  LabelledFeatures test{features(sets.test), sets.test.labels};
  std::array<LabelledFeatures*, 3> const all{&train, &validation, &test};
  standardize(train, all);
  std::array<float, 3> const weak{1e-5f, 1e-4f, 1e-3f}, strong{1e-2f, 1e-1f, 1};
  outcome.probe = probe_score(train, validation, test, {.epochs = options.shortened ? 4 : 10}, weak, seed);
  int const draws = options.shortened ? 4 : 20;
  std::mt19937_64 random(seed);
  for (int draw = 0; draw < draws; ++draw) {
    LabelledFeatures const few = few_labels(train, 10, random);
    ProbeScore const score = probe_score(few, validation, test, {.epochs = 300, .rate = 1e-2}, strong, seed);
    outcome.few.validation += score.validation / draws;
    outcome.few.test += score.test / draws;
  }
}

Mlp<float> new_model(Index embedding, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  return Mlp<float>({image_pixels, 512, 256, 256, embedding}, random);
}

Matrix<float> embedding_of(Mlp<float> const& model, ImageSet const& images) {
  return logits_of(model, images);  // what the last layer gives
}
Matrix<float> encoded(Mlp<float> const& model, ImageSet const& images) {
  return outputs_of(
      model, images,
      [](auto const& activations) -> auto const& { return activations.blocks[encoder_blocks - 1].output; });
}

std::string file_name(std::string name) {
  for (char& c : name)
    if (c == ' ' || c == ',') c = '_';
  return name;
}

void write_spectrum(std::ostream& out, double epoch, EmbeddingMeasures const& measures) {
  for (Index i = 0; i < measures.spectrum.size(); ++i) {
    out << epoch << ',' << i + 1 << ',' << measures.spectrum(i) << '\n';
  }
  out << '\n';  // a new curve
}

Outcome learn(Arm const& arm, Sets const& sets, Options const& options, std::uint64_t seed,
              std::filesystem::path const& out) {
  auto const start = std::chrono::steady_clock::now();
  Mlp<float> model = new_model(arm.embedding, seed);
  Outcome outcome{.name = arm.name, .before = measure_embedding(embedding_of(model, sets.validation))};
  std::ofstream spectra(out / ("spectrum_" + file_name(arm.name) + ".csv"));
  std::ofstream progress(out / ("progress_" + file_name(arm.name) + ".csv"));
  spectra << "epoch,rank,eigenvalue\n";
  progress << "epoch,loss,alignment,trace_loss_above_floor,participation,cosine\n";
  write_spectrum(spectra, 0, *outcome.before);
  int const epochs = options.shortened ? 2 : options.epochs;
  ProgressBar bar("  " + arm.name, epochs);
  int measured = 0;
  auto const report = [&](double epochs_done, ViewLoss const& loss) {
    char note[80];
    std::snprintf(note, sizeof note, "loss %.3f alignment %.3f", loss.value, loss.alignment);
    bar.update(epochs_done, note);
    if (epochs_done < measured + 1) return;
    ++measured;
    outcome.after = measure_embedding(embedding_of(model, sets.validation));
    write_spectrum(spectra, epochs_done, *outcome.after);
    progress << epochs_done << ',' << loss.value << ',' << loss.alignment << ',' << loss.excess << ','
             << outcome.after->participation << ',' << outcome.after->cosine << '\n';
  };
  auto const rate = [&](double done) { return warmup_cosine(done, options.rate, 0.05); };
  outcome.training =
      train_on_views(model, sets.train, {.epochs = epochs, .batch_size = arm.batch},
                     AdamW<float>(model.parameters, {.decay = weight_decay}), rate, seed, arm.loss, report);
  judge(
      outcome, sets, [&](ImageSet const& set) { return encoded(model, set); }, options, seed);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

// The baselines: pixels, the encoder as it was drawn, and the encoder trained with all labels.
std::vector<Outcome> baselines(Sets const& sets, Options const& options, std::uint64_t seed) {
  std::vector<Outcome> result{{.name = "raw pixels"}, {.name = "random encoder"}, {.name = "trained with labels"}};
  judge(
      result[0], sets,
      [](ImageSet const& set) {
        std::vector<Index> all(static_cast<std::size_t>(set.size()));
        std::iota(all.begin(), all.end(), Index{0});
        Matrix<float> pixels;
        gather_images(set, all, pixels);
        return pixels;
      },
      options, seed);
  Mlp<float> model = new_model(image_classes, seed);
  auto const encoder = [&](ImageSet const& set) { return encoded(model, set); };
  judge(result[1], sets, encoder, options, seed);
  int const epochs = options.shortened ? 2 : options.epochs;
  ProgressBar bar("  with labels", epochs);
  std::mt19937_64 random(seed);
  train(
      model, sets.train, {.epochs = epochs}, AdamW<float>(model.parameters, {.decay = weight_decay}),
      [&](double done) { return warmup_cosine(done, options.rate, 0.05); }, random,
      [&](double epochs_done, double loss, double) {
        char note[40];
        std::snprintf(note, sizeof note, "loss %.3f", loss);
        bar.update(epochs_done, note);
      });
  judge(result[2], sets, encoder, options, seed);
  return result;
}

void print_table(std::vector<Outcome> const& outcomes) {
  std::printf("\n  %-28s %10s %12s %16s %8s %11s %11s %11s\n", "", "alignment", "trace loss", "participation", "cosine",
              "validation", "test", "10 a class");
  std::printf("  %-28s %10s %12s %16s %8s %11s %11s %11s\n", "", "", "above floor", "start -> end", "end", "%", "%",
              "%");
  for (Outcome const& o : outcomes) {
    std::printf("  %-28s ", o.name.c_str());
    if (o.training) {
      std::printf("%10.4f %12.2f %7.1f -> %5.1f %8.3f", o.training->last_epoch.alignment, o.training->last_epoch.excess,
                  o.before->participation, o.after->participation, o.after->cosine);
    } else {
      std::printf("%10s %12s %16s %8s", "", "", "", "");
    }
    std::printf(" %11.2f %11.2f %11.2f\n", 100 * o.probe.validation, 100 * o.probe.test, 100 * o.few.test);
  }
  std::printf("\n");
}

Outcome const& named(std::vector<Outcome> const& outcomes, std::string const& name) {
  return *std::find_if(outcomes.begin(), outcomes.end(), [&](Outcome const& o) { return o.name == name; });
}

// Prints every claim with its figure; whether all held. Short runs are held to the first two alone.
bool check_claims(std::vector<Outcome> const& outcomes, Options const& options) {
  bool all = true;
  auto const claim = [&](bool holds, char const* what, double value) {
    std::printf("  %-6s %s: %.3f\n", holds ? "holds" : "FAILS", what, value);
    all &= holds;
  };
  Outcome const &intl = named(outcomes, "INTL"), &random = named(outcomes, "random encoder");
  double const growth = intl.after->participation / intl.before->participation;
  claim(intl.training->view_difference > 0.1, "the two views differ, mean |difference| of their pixels > .1",
        intl.training->view_difference);
  claim(intl.after->cosine < 0.2, "INTL: mean pairwise cosine of the embedding < .2", intl.after->cosine);
  if (options.shortened) return all;
  claim(growth >= 2, "INTL: participation ratio over its start >= 2", growth);
  claim(intl.probe.test - random.probe.test >= 0.01, "probe above the random encoder, points >= 1",
        100 * (intl.probe.test - random.probe.test));
  for (char const* name : {"IterNorm without trace loss", "alignment alone"}) {
    double const lead = 100 * (intl.probe.test - named(outcomes, name).probe.test);
    claim(lead >= 4, (std::string("probe above ") + name + ", points >= 4").c_str(), lead);
  }
  double const few = 100 * (intl.few.test - named(outcomes, "raw pixels").few.test);
  claim(few >= 2, "10 labels a class: above raw pixels, points >= 2", few);
  return all;
}

// plot.gp beside the data, and the pictures, if gnuplot is there.
void draw(std::filesystem::path const& out, std::vector<Outcome> const& outcomes) {
  std::ostringstream script;
  script
      << "set terminal svg size 780,420 font 'sans,12' background 'white'\n"
         "set datafile separator ','\nset key outside\nset logscale y\nset format y '10^{%L}'\nset yrange [1e-9:1]\n"
         "set xlabel 'eigenvalue, by size'\nset ylabel 'share of the variance'\n"
         "set output 'spectrum_training.svg'\nset title 'INTL: the spectrum of the embedding, epoch by epoch'\n"
         "plot for [i=0:*] 'spectrum_INTL.csv' every :::i::i skip 1 using 2:3 with lines title sprintf('epoch %d', i)\n"
         "set output 'spectra.svg'\nset title 'Spectra of the embeddings after training'\nplot \\\n";
  for (Outcome const& o : outcomes) {
    if (!o.training) continue;
    std::ofstream end(out / ("end_" + file_name(o.name) + ".csv"));
    end << "epoch,rank,eigenvalue\n";
    write_spectrum(end, 0, *o.after);
    script << "  'end_" << file_name(o.name) << ".csv' skip 1 using 2:3 with lines lw 2 title '" << o.name << "', \\\n";
  }
  script << "  1/0 notitle\n";
  bool const drawn = plot(out, "plot", script.str());
  std::cout << "  data" << (drawn ? " and pictures" : "; pictures need gnuplot") << ": " << out.string() << "\n\n";
}

bool run_seed(Sets const& sets, Options const& options, std::uint64_t seed) {
  std::cout << "seed " << seed << std::endl;
  std::filesystem::path const out = options.out / ("seed" + std::to_string(seed));
  std::filesystem::create_directories(out);
  std::vector<Outcome> outcomes;
  for (Arm const& arm : arms(options)) outcomes.push_back(learn(arm, sets, options, seed, out));
  for (Outcome& baseline : baselines(sets, options, seed)) outcomes.push_back(std::move(baseline));
  print_table(outcomes);
  draw(out, outcomes);
  return check_claims(outcomes, options);
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app("Self-supervised learning on Fashion-MNIST: INTL, its parts, hard whitening, and three baselines.");
  app.add_option("--seed", options.seeds, "seeds, one run each")->capture_default_str();
  app.add_flag("--short", options.shortened, "three arms, a third of the images, two epochs: under a minute");
  app.add_option("--epochs", options.epochs, "passes over the images")->capture_default_str();
  app.add_option("--rate", options.rate, "peak learning rate of AdamW")->capture_default_str();
  app.add_option("--data", options.data, "folder of the *-ubyte.gz files")->capture_default_str();
  app.add_option("--out", options.out, "folder for data and pictures")->capture_default_str();
  return run_command_line(app, argument_count, arguments, [&] {
    Sets const sets = split(load_fashion_mnist(options.data), options.shortened);
    bool all = true;
    for (std::uint64_t const seed : options.seeds) all &= run_seed(sets, options, seed);
    std::cout << (all ? "every claim held\n" : "some claim FAILED\n");
    return all ? 0 : 1;
  });
}
