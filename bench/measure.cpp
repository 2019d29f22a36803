// SPDX-License-Identifier: MIT
#include "measure.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace bench {
namespace {

constexpr int trial_rounds = 3;
constexpr double hopeless = 3;

double time_per_call(Run const& run, int calls) {
  auto const begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) run();
  std::chrono::duration<double> const elapsed = std::chrono::steady_clock::now() - begin;
  return elapsed.count() / calls;
}

// Doubles until a measurement is long enough to be trusted, then scales.
int calls_for(Run const& run, double seconds) {
  int calls = 1;
  double each = time_per_call(run, calls);
  while (each * calls < seconds / 4) each = time_per_call(run, calls *= 2);
  return std::max(1, static_cast<int>(std::ceil(seconds / each)));
}

double fastest_contender(std::vector<Timing> const& timings) {
  double result = std::numeric_limits<double>::infinity();
  for (auto const& t : timings)
    if (t.contender) result = std::min(result, t.median());
  return result;
}

}  // namespace

double Timing::median() const {
  auto sorted = seconds;
  auto const middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

double Timing::least() const { return *std::min_element(seconds.begin(), seconds.end()); }

void measure(std::vector<Timing>& timings, int rounds, double seconds) {
  std::vector<Timing*> order;
  for (auto& t : timings) {
    t.run();  // pages and code are there
    t.calls = calls_for(t.run, seconds);
    order.push_back(&t);
  }
  for (int round = 0; round < rounds; ++round) {
    for (auto* t : order) {
      t->run();  // what the one before left in the caches does not count
      t->seconds.push_back(time_per_call(t->run, t->calls));
    }
    std::reverse(order.begin(), order.end());  // nor is anybody always after the same one
    if (round + 1 == trial_rounds) {
      double const limit = hopeless * fastest_contender(timings);
      std::erase_if(order, [&](Timing const* t) { return t->contender && t->median() > limit; });
    }
  }
}

}  // namespace bench
