// SPDX-License-Identifier: MIT
// bench/measure.hpp -- times of several implementations of one call, taken in turn.
//
// A noisy machine is fast for a while, then slow for a while. So nobody is measured on end: a round measures each
// implementation once, and what is reported is the median over rounds. Google Benchmark's random interleaving shuffles
// the repetitions of all registered benchmarks; here it would need every case's buffers at once, or draw them anew for
// each repetition, and its rounds could not be told apart.
#pragma once

#include "implementation.hpp"

#include <string>
#include <vector>

namespace bench {

struct Timing {
  std::string name;
  Run run;
  std::vector<double> seconds;  // per call, one for each round
  bool contender = true;        // false: a limit, such as memcpy
  int calls = 1;                // in a measurement

  double median() const;
  double least() const;
};

// Measures each for at least `seconds` in each of `rounds` rounds. A contender that takes over three
// times as long as the fastest one after three rounds is left out of the others.
void measure(std::vector<Timing>& timings, int rounds, double seconds);

}  // namespace bench
