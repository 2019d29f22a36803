// SPDX-License-Identifier: MIT
// end_to_end/paired_timing.hpp -- the forward time of a network against its folds, against the noise of the machine.
//
// Every round times, in turn: the original (A), a copy of it (A again), and each fold (B); then the norms of A and B
// where they run. The effect is the median of the rounds' ratios B/A; A/A is what the same measurement says about no
// change at all. Where weights and values happen to lie in memory moves short networks by more than a fold does, so
// some rounds are run on copies of all networks that lie elsewhere.
//
//   share    norms of A / A          ceiling  (norms of A - norms of B) / A: what faster norms can give at most
#pragma once

#include "training/quartiles.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace foldnorm::end_to_end {

using training::Quartiles;
using training::quartiles;

struct FoldTiming {
  Quartiles to_original;  // B / A
  double ceiling = 0;     // parts of A
  double gain() const { return 1 - to_original.median; }
};

struct Timing {
  double seconds = 0;  // of A, median
  double share = 0;
  Quartiles control;  // A / A
  std::vector<FoldTiming> folds;

  // How far no change at all seems to move the time: the quartile of A/A that lies farther from 1.
  double spread() const { return std::max(std::abs(control.lower - 1), std::abs(control.upper - 1)); }
};

struct Effort {
  int rounds = 25;
  double seconds = 2;              // of all rounds, about; at least 9 are run
  double seconds_per_part = 2e-3;  // of a measurement: repeats a short network
};

// What can be said of a measured gain.
inline char const* judge(Timing const& timing, FoldTiming const& fold) {
  if (fold.gain() < -timing.spread()) return "slower";
  if (fold.ceiling < 3 * timing.spread()) return "below measurement";
  return fold.gain() >= 0.8 * fold.ceiling ? "reached" : "short of it";
}

namespace detail {

// Of one run: the least of three parts of a measurement, where a part is short: other work on the machine comes in
// bursts.
template <class Subject>
double seconds_of(Subject& subject, int norm_repetitions, int runs) {
  using Clock = std::chrono::steady_clock;
  double least = std::numeric_limits<double>::infinity();
  for (int part = 0; part < (runs > 1 ? 3 : 1); ++part) {
    auto const start = Clock::now();
    for (int i = 0; i < runs; ++i) subject.run(norm_repetitions);
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count() / runs);
  }
  return least;
}

}  // namespace detail

// Of all norms of a subject: what computing all norms `extra` times more takes longer, next to a plain run of
// the same subject, so that what slows one slows the other.
template <class Subject>
double repeated_norm_seconds(Subject& subject, int extra, int runs) {
  double const before = detail::seconds_of(subject, 1, runs);
  return (detail::seconds_of(subject, 1 + extra, runs) - before) / extra;
}

// Samples of an original, its copy, and folds.
class Comparison {
 public:
  // subjects: the original, its copy, then the folds; subject.run(n) runs it once, with every norm computed n times.
  // All have run before, so that their memory is there. norm_seconds(subject, seconds, runs) times the norms of a
  // subject that takes so many seconds for one run, and a part of a measurement for so many runs.
  template <class Subject, class NormSeconds>
  void add_rounds(std::vector<Subject>& subjects, Effort const& effort, NormSeconds const& norm_seconds) {
    std::size_t const count = subjects.size();
    plain_.resize(count);
    ratio_.resize(count);
    norms_.resize(count);
    double const once = detail::seconds_of(subjects[0], 1, 1);
    int const runs = std::max(1, static_cast<int>(effort.seconds_per_part / once));
    double const round_seconds = once * runs * (runs > 1 ? 3 : 1) * static_cast<double>(3 * count);
    int const rounds = std::clamp(static_cast<int>(effort.seconds / round_seconds), 9, effort.rounds);
    for (int round = 0; round < rounds; ++round) {
      std::vector<double> now(count);
      for (std::size_t turn = 0; turn < count; ++turn) {  // each subject comes first, second, ... in turn
        std::size_t const s = (turn + static_cast<std::size_t>(round)) % count;
        now[s] = detail::seconds_of(subjects[s], 1, runs);
      }
      for (std::size_t s = 0; s < count; ++s) {
        plain_[s].push_back(now[s]);
        ratio_[s].push_back(now[s] / now[0]);
        if (s != 1) norms_[s].push_back(norm_seconds(subjects[s], now[s], runs));  // the copy's are the original's
      }
    }
  }

  Timing timing() const {
    Timing result;
    result.seconds = quartiles(plain_[0]).median;
    double const norms_of_original = quartiles(norms_[0]).median;
    result.share = norms_of_original / result.seconds;
    result.control = quartiles(ratio_[1]);
    for (std::size_t s = 2; s < plain_.size(); ++s) {
      double const norms = quartiles(norms_[s]).median;
      result.folds.push_back({quartiles(ratio_[s]), (norms_of_original - norms) / result.seconds});
    }
    return result;
  }

 private:
  std::vector<std::vector<double>> plain_, ratio_, norms_;  // by subject
};

}  // namespace foldnorm::end_to_end
