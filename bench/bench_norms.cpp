// SPDX-License-Identifier: MIT
// bench/bench_norms.cpp -- every operation, shape and implementation as a case of Google Benchmark.
//
// Names are paths, operation/direction/scalar/features x columns/implementation:
// --benchmark_filter='layer_norm/forward/f32/768x128/' compares the implementations of one case. Results are checked
// against double before they are timed. Bytes are those that the operation reads and writes, columns only.
// Comparisons on a noisy machine are for bench_table, which takes implementations in turn.
#include "cases.hpp"
#include "implementation.hpp"
#include "machine.hpp"

#include <benchmark/benchmark.h>

#include <iostream>
#include <memory>
#include <string>

namespace {

using namespace bench;

struct Prepared {
  std::unique_ptr<Problem> problem;
  std::string name;
  Run run;
  bool right = false;
};

// Google Benchmark calls a case several times, until it is long enough: its numbers are drawn and checked the first
// time.
Prepared& prepared(Case const& what, Implementation const& implementation, std::string const& name, bool check) {
  static Prepared current;
  if (current.name == name) return current;
  current.run = nullptr;  // it refers to the problem
  if (!current.problem || current.problem->what.path() != what.path()) {
    current.problem.reset();  // before the next one is allocated
    current.problem = std::make_unique<Problem>(what);
  }
  current.name = name;
  current.run = implementation.prepare(*current.problem);
  poison(*current.problem);
  current.run();
  current.right = !check || error(*current.problem) <= 1;
  return current;
}

bool does(Implementation const& implementation, Case what) {
  what.shape = {2 * group_size, 2};
  Problem small(what);
  return static_cast<bool>(implementation.prepare(small));
}

void add(Case const& what, Implementation const& implementation, Index bytes, bool check) {
  std::string const name = what.path() + "/" + implementation.name;
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    Prepared& p = prepared(what, implementation, name, check);
    if (!p.right) return state.SkipWithError("the result is wrong");
    for (auto _ : state) {
      p.run();
      benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * bytes);
  });
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  constexpr int threads = 1;
  auto const used = libraries(threads);
  auto const limits = copies(threads);
  for (Case const& what : full_cases()) {
    for (auto const& library : used)
      for (auto const& implementation : library.implementations)
        if (does(implementation, what)) add(what, implementation, what.bytes(), true);
    Index const copied = 2 * what.shape.features * what.shape.columns * size_of(what.scalar);
    for (auto const& copy : limits) add(what, copy, copied, false);
  }
  benchmark::Initialize(&argument_count, arguments);
  if (benchmark::ReportUnrecognizedArguments(argument_count, arguments)) return 1;
  describe_machine(std::cerr, used, threads);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
