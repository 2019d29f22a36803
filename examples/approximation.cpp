// SPDX-License-Identifier: MIT
// approximation.cpp -- networks of parallel layer norm, and of the units it is compared with, built to approximate
// given functions; their numbers of neurons, and their errors as measured beside what is guaranteed.
//
// Exit status: 0 if every error is within its bound, 1 if one is not, 2 for a bad command line or a failed write.
#include <foldnorm/constructions/approximate.hpp>
#include <foldnorm/constructions/approximate_on_grid.hpp>
#include <foldnorm/constructions/fit_random_groups.hpp>

#include <CLI/CLI.hpp>

#include "approximation/lipschitz_functions.hpp"
#include "command_line.hpp"
#include "matrix_difference.hpp"
#include "training/run_program.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <numbers>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::approximation;

struct Options {
  std::vector<double> epsilons{0.3, 0.1, 0.03, 0.01};  // of the comparison of units
  std::uint64_t seed = 1;                              // of the fits
  std::filesystem::path out = "out/approximation";
};

constexpr LipschitzInterval interval{0, 1, 3};

// A file of comma-separated values that is closed with a check.
class Table {
 public:
  Table(std::filesystem::path path, std::string const& header) : path_(std::move(path)), file_(path_) {
    file_.precision(10);
    file_ << header << '\n';
  }
  template <class First, class... Rest>
  void row(First const& first, Rest const&... rest) {
    file_ << first;
    ((file_ << ',' << rest), ...);
    file_ << '\n';
  }
  void close() {
    file_.close();
    if (!file_) throw std::runtime_error(path_.string() + ": cannot be written");
  }

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

void shortest_use() {
  auto const wave = [](double x) { return std::cos(std::numbers::pi * x); };
  Approximant const g = approximate(wave, {.begin = 0, .end = 3, .lipschitz = std::numbers::pi}, 0.05);
  std::cout << g.network << g.groups << " groups, within " << g.bound << " of cos(pi x) on [0, 3]; at 0, 1, 2, 3:\n"
            << g.network.forward(Eigen::RowVectorXd::LinSpaced(4, 0, 3)) << "\n\n";
}

// Six functions, error / epsilon: whether none is over 1.
bool measure_six_functions(std::filesystem::path const& out) {
  struct Column {
    double softness, epsilon;  // softness 0: hard
  };
  std::vector<Column> columns;
  for (double const epsilon : {0.3, 0.1, 0.01, 0.001}) columns.push_back({0, epsilon});
  for (double const softness : {0.01, 0.1, 0.3}) {
    for (double const epsilon : {0.3, 0.1, 0.01}) columns.push_back({softness, epsilon});
  }
  auto const options = [](Column const& c) {
    return c.softness > 0 ? UnitOptions{.softness = c.softness} : UnitOptions{.mode = StepMode::hard};
  };
  Table table(out / "six_functions.csv", "function,softness,epsilon,cells,error_over_epsilon");
  std::printf("Six functions with Lipschitz constant 3 on [0, 1], PLN-2: largest error / epsilon, at most 1\n\n  %-12s",
              "softness");
  for (Column const& c : columns) c.softness > 0 ? std::printf(" %6g", c.softness) : std::printf(" %6s", "hard");
  std::printf("\n  %-12s", "epsilon");
  for (Column const& c : columns) std::printf(" %6g", c.epsilon);
  std::printf("\n  %-12s", "cells");
  for (Column const& c : columns) {
    std::printf(" %6td", required_groups(interval, c.epsilon, options(c)).cells);
  }
  std::printf("\n");
  bool within = true;
  for (Target const& target : lipschitz_functions(interval.lipschitz)) {
    std::printf("  %-12s", target.name.c_str());
    for (Column const& c : columns) {
      Approximant const g = approximate(target.f, interval, c.epsilon, options(c));
      double const share = largest_error(g.network, target.f, points_of(interval, g.cells)) / c.epsilon;
      within &= share <= 1 + 1e-12;
      std::printf(" %6.4f", share);
      std::fflush(stdout);
      table.row(target.name, c.softness, c.epsilon, g.cells, share);
    }
    std::printf("\n");
  }
  table.close();
  std::printf("\n");
  return within;
}

// Neurons for an error of epsilon on every function of constant 3: whether the networks that have them keep it.
bool compare_units(Options const& options) {
  struct Row {
    char const* name;
    UnitOptions units;
  };
  std::vector<Row> const rows{
      {"PLN-2, hard", {.mode = StepMode::hard}},
      {"PLN-2, soft", {}},
      {"PLN-8, soft", {.norm_size = 8}},
      {"sign (PLS-1)", sign_units()},
      {"tanh", {.kind = UnitKind::tanh, .softness = 0.02}},
      {"sigmoid", {.kind = UnitKind::sigmoid, .softness = 0.02}},
      {"ReLU", {.kind = UnitKind::relu}},
  };
  Table table(options.out / "required_neurons.csv",
              "unit,epsilon,groups,neurons,least_groups,worst_error_over_epsilon");
  std::printf(
      "Hidden units and neurons, with an output bias, for an error of epsilon on every function with Lipschitz\n"
      "constant 3 on [0, 1]; the least number of units that any network needs, where proved; and the largest\n"
      "error / epsilon of the networks built for the six functions. Softness .1, of tanh and sigmoid .02\n\n  %-14s "
      "%8s %8s %8s %8s %8s\n",
      "", "epsilon", "units", "neurons", "least", "worst");
  bool within = true;
  for (Row const& row : rows) {
    for (double const epsilon : options.epsilons) {
      RequiredGroups const required = required_groups(interval, epsilon, row.units);
      double worst = 0;
      for (Target const& target : lipschitz_functions(interval.lipschitz)) {
        Approximant const g = approximate(target.f, interval, epsilon, row.units);
        worst = std::max(worst, largest_error(g.network, target.f, points_of(interval, g.cells, 5003)) / epsilon);
      }
      // relu adds up N changes of slope, with N roundings of up to 6 / epsilon of epsilon.
      double const cells = static_cast<double>(required.cells);
      within &= worst <= 1 + (row.units.kind == UnitKind::relu ? 6 * cells * 2.3e-16 / epsilon : 1e-12);
      std::string const least = required.least_groups ? std::to_string(*required.least_groups) : "-";
      std::printf("  %-14s %8g %8td %8td %8s %8.4f\n", row.name, epsilon, required.groups, required.neurons,
                  least.c_str(), worst);
      table.row("\"" + std::string(row.name) + "\"", epsilon, required.groups, required.neurons, least, worst);
    }
  }
  table.close();
  std::printf("\n");
  return within;
}

double surface(Vector<double> const& x) { return std::sin(3 * x(0)) * std::cos(2 * x(1)) + std::abs(x(0) - x(1)) / 2; }

Matrix<double> uniform(Index rows, Index columns, std::mt19937_64& random) {
  std::uniform_real_distribution<double> any;
  return Matrix<double>::NullaryExpr(rows, columns, [&] { return any(random); });
}

Matrix<double> values_of(std::function<double(Vector<double> const&)> const& f, Matrix<double> const& x) {
  Matrix<double> y(1, x.cols());
  for (Index j = 0; j < x.cols(); ++j) y(0, j) = f(x.col(j));
  return y;
}

// Two hidden layers on the square: at random points, and where grid planes cross.
bool measure_grid(Options const& options) {
  double const lipschitz = std::sqrt(13.0) + std::sqrt(2.0) / 2;
  Table table(options.out / "grid.csv",
              "epsilon,cells,planes,boxes,random_error_over_epsilon,crossing_error_over_epsilon");
  std::printf(
      "sin 3x cos 2y + |x - y| / 2 on [0, 1]^2, two hidden layers of PLN-2: largest error / epsilon at 3000 random\n"
      "points and on all crossings of the grid\n\n  %8s %8s %8s %8s %8s %10s\n",
      "epsilon", "cells", "layer 1", "layer 2", "random", "crossings");
  bool within = true;
  std::mt19937_64 random(options.seed);
  Matrix<double> const points = uniform(2, 3000, random);
  for (double const epsilon : {0.5, 0.2, 0.1, 0.05}) {
    GridApproximant const g = approximate_on_grid(surface, {.dimensions = 2, .lipschitz = lipschitz}, epsilon);
    Index const across = g.cells + 1;
    Matrix<double> crossings(2, across * across);
    for (Index j = 0; j < crossings.cols(); ++j) {
      crossings.col(j) << static_cast<double>(j % across), static_cast<double>(j / across);
    }
    crossings /= static_cast<double>(g.cells);
    auto const error = [&](Matrix<double> const& x) {
      return matrix_difference(outputs(g.network, x), values_of(surface, x)) / epsilon;
    };
    double const at_random = error(points), on_crossings = error(crossings);
    within &= std::max(at_random, on_crossings) <= 1 + 1e-12;
    std::printf("  %8g %8td %8td %8td %8.3f %10.3f\n", epsilon, g.cells, g.planes, g.boxes, at_random, on_crossings);
    table.row(epsilon, g.cells, g.planes, g.boxes, at_random, on_crossings);
  }
  table.close();
  std::printf("\n");
  return within;
}

// Least squares on random groups: two functions, 2000 samples to fit and 2000 to judge.
void measure_fits(Options const& options) {
  struct Task {
    char const* name;
    Index dimensions;
    std::function<double(Vector<double> const&)> f;
  };
  std::vector<Task> const tasks{
      {"surface", 2, surface},
      {"friedman", 8,  // Friedman 1991: of eight inputs five matter
       [](Vector<double> const& x) {
         double const bowl = x(2) - 0.5;
         return 10 * std::sin(std::numbers::pi * x(0) * x(1)) + 20 * bowl * bowl + 10 * x(3) + 5 * x(4);
       }},
  };
  Table table(options.out / "fits.csv", "function,groups,neurons,training_error,test_error");
  std::printf(
      "Least squares on random groups of PLN-3: root mean square error / standard deviation of the function, on 2000\n"
      "samples fitted and 2000 others\n\n  %-10s %8s %8s %8s %10s %10s\n",
      "", "inputs", "groups", "neurons", "fitted", "others");
  for (Task const& task : tasks) {
    std::mt19937_64 random(options.seed);
    Matrix<double> const x = uniform(task.dimensions, 2000, random), other = uniform(task.dimensions, 2000, random);
    Matrix<double> const y = values_of(task.f, x), expected = values_of(task.f, other);
    double const deviation = std::sqrt((y.array() - y.mean()).square().mean());
    for (Index const groups : {4, 8, 16, 32, 64, 128, 256}) {
      RandomGroupsFit const fit = fit_random_groups(x, y, options.seed, {.groups = groups});
      double const error = std::sqrt((fit.network.forward(other) - expected).array().square().mean()) / deviation;
      std::printf("  %-10s %8td %8td %8td %10.5f %10.5f\n", task.name, task.dimensions, groups, 3 * groups,
                  fit.training_error(0) / deviation, error);
      table.row(task.name, groups, 3 * groups, fit.training_error(0) / deviation, error);
    }
  }
  table.close();
  std::printf("\n");
}

// The wave with its approximants for growing N, hard and soft; and the fits' errors.
void draw(std::filesystem::path const& out) {
  LipschitzInterval const three{0, 3, std::numbers::pi};
  auto const wave = [](double x) { return std::cos(std::numbers::pi * x); };
  Eigen::RowVectorXd const x = Eigen::RowVectorXd::LinSpaced(301, 0, 3);
  std::ofstream script(out / "plot.gp");
  script << "set terminal svg size 900,620 font 'sans,12' background 'white'\nset datafile separator ','\n"
            "set output 'approximation_steps.svg'\nset multiplot layout 2,3\nset yrange [-1.5:1.5]\nset xrange "
            "[0:3]\nset key off\n";
  for (StepMode const mode : {StepMode::hard, StepMode::soft}) {
    for (double const epsilon : {0.8, 0.4, 0.1}) {
      Approximant const g = approximate(wave, three, epsilon, {.mode = mode, .softness = 0.3});
      std::string const kind = mode == StepMode::hard ? "hard" : "soft";
      std::string const file = kind + "_" + std::to_string(g.groups) + "_groups.csv";
      Table curve(out / file, "x,target,network,lower,upper");
      Eigen::RowVectorXd const y = g.network.forward(x);
      for (Index j = 0; j < x.size(); ++j)
        curve.row(x(j), wave(x(j)), y(j), wave(x(j)) - g.bound, wave(x(j)) + g.bound);
      curve.close();
      char title[64];
      std::snprintf(title, sizeof title, "%s, %td groups, bound %.2f", kind.c_str(), g.groups, g.bound);
      script << "set title '" << title << "'\nplot '" << file
             << "' skip 1 using 1:4:5 with filledcurves fs solid .35 noborder lc rgb 'gray', '' skip 1 using 1:2 with "
                "lines lc rgb 'gray40', '' skip 1 using 1:3 with lines lw 1.5 lc rgb '#1f5fa8'\n";
    }
  }
  script
      << "unset multiplot\nset terminal svg size 620,400 font 'sans,12' background 'white'\nset output "
         "'approximation_fits.svg'\n"
         "set title 'Least squares on random groups of PLN-3, samples not fitted'\nset key top right\nset logscale xy\n"
         "set xrange [3:300]\nset autoscale y\nset xlabel 'groups'\nset ylabel 'error / standard deviation'\n"
         "plot for [f in 'surface friedman'] 'fits.csv' using (strcol(1) eq f ? $2 : 1/0):5 with linespoints lw 1.5 "
         "title f\n";
  script.close();
  if (!script) throw std::runtime_error((out / "plot.gp").string() + ": cannot be written");
  auto const here = std::filesystem::current_path();
  std::filesystem::current_path(out);
  bool const drawn = training::run_program({"gnuplot", "plot.gp"});
  std::filesystem::current_path(here);
  std::cout << "data" << (drawn ? " and pictures" : "; pictures need gnuplot") << ": " << out.string() << '\n';
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app("Networks of parallel layer norm as approximators: bounds, numbers of neurons, errors as measured.");
  app.add_option("--epsilon", options.epsilons, "errors for the comparison of units")->capture_default_str();
  app.add_option("--seed", options.seed, "of random points and random groups")->capture_default_str();
  app.add_option("--out", options.out, "folder for data and pictures")->capture_default_str();
  return run_command_line(app, argument_count, arguments, [&] {
    std::filesystem::create_directories(options.out);
    shortest_use();
    bool within = measure_six_functions(options.out);
    within &= compare_units(options);
    within &= measure_grid(options);
    measure_fits(options);
    draw(options.out);
    std::cout << (within ? "every error is within its bound\n" : "some error is OVER its bound\n");
    return within ? 0 : 1;
  });
}
