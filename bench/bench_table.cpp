// SPDX-License-Identifier: MIT
// bench/bench_table.cpp -- foldnorm beside every peer of this build, in one table for each operation.
//
// Every result is checked against double before it is timed; a wrong one is reported, and not timed.
#include "cases.hpp"
#include "machine.hpp"
#include "table.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <regex>

namespace {

using namespace bench;

struct Options {
  std::string shapes = "full", only, csv;
  int rounds = 15, threads = 1;
  double milliseconds = 3;
  bool markdown = false, all = false;
};

bool parse(Options& o, CLI::App& app) {
  app.add_option("--shapes", o.shapes, "short or full")->check(CLI::IsMember({"short", "full"}))->capture_default_str();
  app.add_option("--only", o.only, "cases whose path matches this regular expression (rms_norm/forward/f32/768x)")
      ->check(CLI::Validator(
          [](std::string& text) {
            try {
              std::regex const expression(text);
              return std::string();
            } catch (std::regex_error const& error) {
              return std::string(error.what());
            }
          },
          ""));
  app.add_option("--rounds", o.rounds, "measurements of each implementation, taken in turn")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--milliseconds", o.milliseconds, "least length of a measurement")->capture_default_str();
  app.add_option("--threads", o.threads, "of foldnorm, the libraries and the copies")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_flag("--all", o.all, "print the time of every implementation, too");
  app.add_flag("--markdown", o.markdown, "print Markdown tables");
  app.add_option("--csv", o.csv, "write every median and minimum to this file");
  return true;
}

// Adds the call if there is one and it computes the right thing; false if it does not.
bool add(std::vector<Timing>& timings, Implementation const& implementation, Problem& problem) {
  Run run = implementation.prepare(problem);
  if (!run) return true;
  poison(problem);
  run();
  double const off = error(problem);
  if (off <= 1) {
    timings.push_back({implementation.name, run, {}, implementation.name != tuned_name});
    return true;
  }
  std::cerr << "\nWRONG, not timed: " << implementation.name << " " << problem.what.path() << " is off by " << off
            << " times the tolerance\n";
  return false;
}

class Bench {
 public:
  explicit Bench(Options const& options)
      : options_(options), libraries_(libraries(options.threads)), copies_(copies(options.threads)) {}

  std::vector<Library> const& used() const { return libraries_; }
  bool all_right() const { return all_right_; }

  Measured measure_case(Case const& what) {
    Problem problem(what);
    Measured result{what, {}};
    for (auto const& library : libraries_)
      for (auto const& implementation : library.implementations)
        all_right_ &= add(result.timings, implementation, problem);
    if (auto const* ours = result.ours()) result.timings.push_back({control_name, ours->run, {}});
    for (auto const& copy : copies_) result.timings.push_back({copy.name, copy.prepare(problem), {}, false});
    measure(result.timings, options_.rounds, options_.milliseconds / 1e3);
    for (auto& t : result.timings) t.run = nullptr;  // they refer to the problem
    return result;
  }

 private:
  Options options_;
  std::vector<Library> libraries_;
  std::vector<Implementation> copies_;
  bool all_right_ = true;
};

void print_group(std::vector<Measured> const& group, Options const& options) {
  std::cout << "\n" << (options.markdown ? "### " : "") << group[0].what.group() << "\n\n";
  print(std::cout, comparison(group), options.markdown);
  std::cout << "\n" << summary(group) << "\n";
  if (options.all) {
    std::cout << "\n";
    print(std::cout, all_times(group), options.markdown);
  }
  std::cout << std::flush;
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  Options options;
  CLI::App app("foldnorm's kernels beside oneDNN, libtorch, ONNX Runtime, Eigen, plain loops and memcpy");
  parse(options, app);
  CLI11_PARSE(app, argument_count, arguments);

  auto cases = options.shapes == "full" ? full_cases() : short_cases();
  std::regex const only(options.only);
  std::erase_if(cases, [&](Case const& c) { return !std::regex_search(c.path(), only); });

  std::ofstream csv;
  if (!options.csv.empty()) {
    csv.open(options.csv);
    if (!csv) return std::cerr << options.csv << ": cannot be written\n", 1;
  }

  Bench bench(options);
  describe_machine(std::cout, bench.used(), options.threads);
  std::cout << "medians of " << options.rounds
            << " interleaved rounds; ratio = best peer / foldnorm, then tuned loops / foldnorm\n"
            << std::flush;

  std::vector<Measured> measured, group;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    std::cerr << "[" << i + 1 << "/" << cases.size() << "] " << cases[i].path() << "\n";
    group.push_back(bench.measure_case(cases[i]));
    if (i + 1 < cases.size() && cases[i + 1].group() == cases[i].group()) continue;
    print_group(group, options);
    measured.insert(measured.end(), group.begin(), group.end());
    group.clear();
  }
  std::cout << "\nall " << summary(measured) << "\n";
  if (csv.is_open()) {
    csv << "case,implementation,median_us,least_us,rounds,calls\n";
    write_csv(csv, measured);
    csv.close();
    if (!csv) return std::cerr << options.csv << ": cannot be written\n", 1;
  }
  return bench.all_right() ? 0 : 1;
}
