// SPDX-License-Identifier: MIT
// ln_net.cpp -- any labels of any samples by linear layers and LayerNorms of width 3, built and not trained: how far
// the construction goes in double and in float, on points of a line and on images; and pictures of what it does.
//
// Exit status: 0 if every claim held, 1 if one failed, 2 for a bad command line or data that cannot be read.
#include <foldnorm/constructions/ln_net_classifier.hpp>
#include <foldnorm/constructions/nonlinearity.hpp>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "training/fashion_mnist_data.hpp"
#include "training/progress_bar.hpp"
#include "training/run_program.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

struct Options {
  bool shortened = false;
  std::filesystem::path data = fashion_mnist_directory;
  std::filesystem::path out = "out/ln_net";
};

struct LabelledSamples {
  Matrix<double> x;
  std::vector<int> labels;
};

std::vector<int> random_labels(Index m, int classes, std::mt19937_64& random) {
  std::uniform_int_distribution<int> label(0, classes - 1);
  std::vector<int> labels(static_cast<std::size_t>(m));
  for (int& l : labels) l = label(random);
  return labels;
}

LabelledSamples normal_samples(Index features, Index m, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  Matrix<double> x = Matrix<double>::NullaryExpr(features, m, [&] { return normal(random); });
  return {std::move(x), random_labels(m, 2, random)};
}
LabelledSamples alternating_samples(Index m) {
  LabelledSamples data{Vector<double>::LinSpaced(m, 0, static_cast<double>(m - 1)).transpose(), {}};
  for (Index j = 0; j < m; ++j) data.labels.push_back(static_cast<int>(j % 2));
  return data;
}

// A row of a table: what became of several networks.
struct Tally {
  int networks = 0, certified = 0, most_attempts = 0;
  double runs = 0, layer_norms = 0, seconds = 0, least_margin = 1e300;
  Index samples = 0, differ_alone = 0;  // samples whose class is another when they are run alone
  LnNetFailure failure = LnNetFailure::nothing;
};

// Builds a network and adds it to the tally. alone: run the samples one at a time as well.
template <class Scalar>
void add(Tally& tally, LabelledSamples const& data, LnNetOptions const& options, bool alone) {
  auto const start = std::chrono::steady_clock::now();
  LnNetClassifier<Scalar> const fit = ln_net_classifier<Scalar>(data.x, data.labels, options);
  tally.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ++tally.networks;
  tally.certified += fit.certified;
  if (!fit.certified) {
    tally.failure = fit.failure;
    return;
  }
  for (LnNetChain const& chain : fit.chains) {
    tally.runs += static_cast<double>(chain.runs) / static_cast<double>(fit.chains.size());
    tally.most_attempts = std::max(tally.most_attempts, chain.attempts);
  }
  tally.layer_norms += static_cast<double>(fit.layer_norms());
  tally.least_margin = std::min(tally.least_margin, fit.margin);
  if (!alone) return;
  Matrix<Scalar> const x = data.x.cast<Scalar>();
  for (Index j = 0; j < x.cols(); ++j, ++tally.samples) {
    tally.differ_alone += fit.predict(x.col(j)).front() != data.labels[static_cast<std::size_t>(j)];
  }
}

void print_head() {
  std::printf("  %-36s %6s %10s %8s %8s %9s %9s %9s %12s\n", "", "m", "certified", "runs", "norms", "attempts",
              "margin", "seconds", "differ alone");
}
void print_row(std::string const& name, Index m, Tally const& t) {
  double const n = std::max(1, t.certified);
  std::printf("  %-36s %6d %7d/%-2d %8.1f %8.1f %9d %9.1e %9.3f ", name.c_str(), static_cast<int>(m), t.certified,
              t.networks, t.runs / n, t.layer_norms / n, t.most_attempts, t.certified ? t.least_margin : 0,
              t.seconds / t.networks);
  if (t.samples > 0) {
    std::printf("%6d/%-6d", static_cast<int>(t.differ_alone), static_cast<int>(t.samples));
  }
  if (t.certified < t.networks) std::printf("  %s", std::string(to_string(t.failure)).c_str());
  std::printf("\n");
  std::fflush(stdout);
}

class Claims {
 public:
  void operator()(bool holds, std::string const& what) {
    if (!holds) std::printf("  FAILS  %s\n", what.c_str());
    all_ &= holds;
  }
  bool all() const { return all_; }

 private:
  bool all_ = true;
};

// Points of a line.
void lines(Options const& options, Claims& claim) {
  struct Row {
    Index m;
    int seeds;
    Accuracy accuracy = Accuracy::accurate;
  };
  std::vector<Row> rows{{10, 20}, {100, 20}, {300, 20}};
  if (options.shortened) {
    for (Row& row : rows) row.seeds = 5;
  } else {
    rows.insert(rows.end(), {{1000, 20}, {2000, 5}, {10'000, 3}, {10'000, 3, Accuracy::fast}});
  }
  std::printf("\nrandom labels of normal samples, and alternating labels of equispaced ones, in double\n");
  print_head();
  for (Row const& row : rows) {
    Tally tally;
    ProgressBar bar("  m " + std::to_string(row.m), row.seeds, "network");
    for (int seed = 1; seed <= row.seeds; ++seed) {
      LabelledSamples const data = normal_samples(1, row.m, static_cast<std::uint64_t>(seed));
      add<double>(tally, data, {.accuracy = row.accuracy}, row.m <= 2000);
      if (row.m >= 2000) bar.update(seed, "");
    }
    print_row(row.accuracy == Accuracy::fast ? "random labels, fast norms" : "random labels", row.m, tally);
    claim(tally.certified == tally.networks, "random labels are certified, m = " + std::to_string(row.m));
    claim(tally.differ_alone == 0, "a sample run alone has the class it has in the batch");
  }
  for (Index const m : options.shortened ? std::vector<Index>{300} : std::vector<Index>{1000, 2000, 5000}) {
    Tally tally;
    add<double>(tally, alternating_samples(m), {}, m <= 2000);
    print_row("alternating labels", m, tally);
    claim(tally.certified == 1 && tally.layer_norms == static_cast<double>(m - 2), "alternating labels: m - 2 norms");
  }
}

// Images, all of their pixels.
void images(Options const& options, Claims& claim) {
  ImageSet const images = load_fashion_mnist(options.data).train;
  Index const m = options.shortened ? 300 : 1000;
  Matrix<double> const x = images.pixels.leftCols(m).cast<double>() / 255;
  std::printf("\nFashion-MNIST images of 784 pixels, in double\n");
  print_head();
  std::mt19937_64 random(1);
  for (int const classes : {2, 10}) {
    Tally tally;
    int const draws = options.shortened ? 1 : 3;
    for (int draw = 0; draw < draws; ++draw) add<double>(tally, {x, random_labels(m, classes, random)}, {}, true);
    print_row(classes == 2 ? "two labels, random" : "ten labels, random: four chains", m, tally);
    claim(tally.certified == tally.networks, "random labels of images are certified");
    claim(tally.differ_alone == 0, "an image run alone has the class it has in the batch");
  }
  Tally tally;
  add<double>(tally, {x, {images.labels.begin(), images.labels.begin() + m}}, {}, true);
  print_row("ten labels, the true ones", m, tally);
  claim(tally.certified == 1, "true labels of images are certified");
}

// Where floats end.
void floats(Options const& options, Claims& claim) {
  std::vector<Index> const sizes =
      options.shortened ? std::vector<Index>{10, 20, 100} : std::vector<Index>{10, 20, 50, 100, 200, 400, 800, 1600};
  int const seeds = options.shortened ? 5 : 20;
  std::printf("\nrandom labels of normal samples, network in float\n");
  print_head();
  for (Accuracy const accuracy : {Accuracy::accurate, Accuracy::fast}) {
    bool const accurate = accuracy == Accuracy::accurate;
    for (Index const m : sizes) {
      Tally tally;
      for (int seed = 1; seed <= seeds; ++seed) {
        add<float>(tally, normal_samples(1, m, static_cast<std::uint64_t>(seed)), {.accuracy = accuracy}, accurate);
      }
      print_row(accurate ? "accurate norms" : "fast norms", m, tally);
      if (accurate && m <= 20) claim(tally.certified == tally.networks, "float is certified for m <= 20");
    }
  }
}

// Where the samples lie on the line that every norm bends: T = S / C behind it, which is that line up to shift and
// scale, brought to [0, 1].
void write_folding(std::filesystem::path const& file, std::uint64_t seed) {
  LabelledSamples const data = normal_samples(1, 24, seed);
  LnNetClassifier<double> const fit = ln_net_classifier(data.x, data.labels);
  if (!fit.certified) throw std::runtime_error("the network of the folding picture is not certified");
  Sequential<double>::Activations activations;
  fit.network.forward(data.x, activations);
  std::ofstream out(file);
  out << "layer,position,label\n";
  std::size_t const norms = activations.steps.size() / 2;
  Matrix<double> line(data.x.cols(), static_cast<Index>(norms));
  for (Index k = 0; k < line.cols(); ++k) {
    Matrix<double> const& y = activations.steps[static_cast<std::size_t>(2 * k + 1)].output;
    line.col(k) = ((y.row(1) - y.row(0)).array() / y.row(2).array()).transpose();
    double const low = line.col(k).minCoeff(), high = line.col(k).maxCoeff();
    line.col(k) = (line.col(k).array() - low) / (high - low);
  }
  for (Index j = 0; j < line.rows(); ++j) {
    for (Index k = 0; k < line.cols(); ++k) {
      out << k + 1 << ',' << line(j, k) << ',' << data.labels[static_cast<std::size_t>(j)] << '\n';
    }
    out << '\n';  // a new curve
  }
}

void write_regions(std::filesystem::path const& directory, std::uint64_t seed) {
  LabelledSamples const data = normal_samples(2, 30, seed);
  LnNetClassifier<double> const fit = ln_net_classifier(data.x, data.labels);
  if (!fit.certified) throw std::runtime_error("the network of the picture of regions is not certified");
  // Rows of the square from -3 to 3; of each, the stretches of label 1.
  constexpr Index side = 121;
  constexpr double cell = 6.0 / side;
  auto const middle = [](Index i) { return -3 + (static_cast<double>(i) + .5) * cell; };
  std::ofstream regions(directory / "regions.csv"), samples(directory / "region_samples.csv");
  regions << "left,right,bottom,top\n";
  for (Index i = 0; i < side; ++i) {
    Matrix<double> row(2, side);
    for (Index j = 0; j < side; ++j) row.col(j) << middle(j), middle(i);
    std::vector<int> const labels = fit.predict(row);
    for (auto begin = labels.begin(); (begin = std::find(begin, labels.end(), 1)) != labels.end();) {
      auto const end = std::find(begin, labels.end(), 0);
      regions << middle(begin - labels.begin()) - cell / 2 << ',' << middle(end - labels.begin()) - cell / 2 << ','
              << middle(i) - cell / 2 << ',' << middle(i) + cell / 2 << '\n';
      begin = end;
    }
  }
  samples << "x1,x2,label\n";
  for (Index j = 0; j < data.x.cols(); ++j) {
    samples << data.x(0, j) << ',' << data.x(1, j) << ',' << data.labels[static_cast<std::size_t>(j)] << '\n';
  }
}

// H of a LayerNorm in groups over H of one group, of a thousand normal samples.
void write_nonlinearity(std::filesystem::path const& file, Claims& claim) {
  constexpr Index features = 64, samples = 1000;
  std::ofstream out(file);
  out << "groups,bound,least,median\n";
  std::printf("\nH of LayerNorm in groups over H of LayerNorm, %d features, %d normal samples\n",
              static_cast<int>(features), static_cast<int>(samples));
  std::printf("  %8s %10s %10s %10s\n", "groups", "bound", "least", "median");
  Matrix<double> const x = normal_samples(features, samples, 1).x;
  for (Index groups = 1; groups <= features / 2; groups *= 2) {
    std::vector<double> ratios;
    for (Index j = 0; j < samples; ++j) ratios.push_back(hessian_energy(x.col(j), groups) / hessian_energy(x.col(j)));
    std::sort(ratios.begin(), ratios.end());
    double const bound = hessian_ratio_bound(features, groups), median = ratios[samples / 2];
    out << groups << ',' << bound << ',' << ratios.front() << ',' << median << '\n';
    std::printf("  %8d %10.2f %10.2f %10.2f\n", static_cast<int>(groups), bound, ratios.front(), median);
    claim(ratios.front() >= bound * (1 - 1e-12), "the ratio's bound holds");
  }
}

// plot.gp beside the data, and the pictures, if gnuplot is there.
void pictures(Options const& options, Claims& claim) {
  std::filesystem::create_directories(options.out);
  write_folding(options.out / "folding.csv", 4);
  write_regions(options.out, 2);
  write_nonlinearity(options.out / "nonlinearity.csv", claim);
  std::ofstream file(options.out / "plot.gp");
  file << "set terminal svg size 780,420 font 'sans,12' background 'white'\nset datafile separator ','\n"
          "set palette defined (0 '#3366aa', 1 '#dd7722')\nunset colorbox\n"
          "set output 'ln_net_folding.svg'\nset title 'The line that each LayerNorm folds: 24 samples, by label'\n"
          "set xlabel 'LayerNorm'\nset ylabel 'position'\nset yrange [-.05:1.05]\n"
          "plot 'folding.csv' skip 1 using 1:2:3 with lines lw .6 palette notitle, \\\n"
          "  'folding.csv' skip 1 using 1:2:3 with points pt 7 ps .4 palette notitle\n"
          "set output 'ln_net_regions.svg'\nset terminal svg size 520,520 font 'sans,12' background 'white'\n"
          "set title '30 random labels in the plane'\n"
          "set xlabel 'x_1'\nset ylabel 'x_2'\nset xrange [-3:3]\nset yrange [-3:3]\nset size square\n"
          "plot 'regions.csv' skip 1 using (($1 + $2) / 2):(($3 + $4) / 2):1:2:3:4 with boxxyerror fs solid noborder "
          "lc rgb '#f6d9c0' notitle, \\\n"
          "  'region_samples.csv' skip 1 using 1:2:3 with points pt 7 ps .7 palette notitle\n"
          "set output 'ln_net_nonlinearity.svg'\nset terminal svg size 780,420 font 'sans,12' background 'white'\n"
          "set size nosquare\nset title 'H(LayerNorm in groups) / H(LayerNorm), 64 features'\nset key top left\n"
          "set xlabel 'groups'\nset ylabel 'ratio'\nset autoscale\nset logscale xy\n"
          "plot 'nonlinearity.csv' skip 1 using 1:4 with linespoints pt 7 title 'median of 1000 samples', \\\n"
          "  '' skip 1 using 1:3 with linespoints pt 7 title 'least', \\\n"
          "  '' skip 1 using 1:2 with lines lw 2 title 'bound'\n";
  file.close();
  auto const here = std::filesystem::current_path();
  std::filesystem::current_path(options.out);
  bool const drawn = run_program({"gnuplot", "plot.gp"});
  std::filesystem::current_path(here);
  std::cout << "\ndata" << (drawn ? " and pictures" : "; pictures need gnuplot") << ": " << options.out.string()
            << '\n';
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app("LN-Net: any labels of any samples by linear layers and LayerNorms of width 3, without training.");
  app.add_flag("--short", options.shortened, "fewer and smaller sets: some seconds");
  app.add_option("--data", options.data, "folder of the *-ubyte.gz files")->capture_default_str();
  app.add_option("--out", options.out, "folder for data and pictures")->capture_default_str();
  return run_command_line(app, argument_count, arguments, [&] {
    Claims claim;
    pictures(options, claim);
    lines(options, claim);
    images(options, claim);
    floats(options, claim);
    std::cout << (claim.all() ? "\nevery claim held\n" : "\nsome claim FAILED\n");
    return claim.all() ? 0 : 1;
  });
}
