// SPDX-License-Identifier: MIT
// end_to_end/effort_options.hpp -- how long to time, from a command line.
#pragma once

#include "paired_timing.hpp"

#include <CLI/CLI.hpp>

namespace foldnorm::end_to_end {

inline void add_effort_options(CLI::App& app, Effort& effort) {
  app.add_option("--rounds", effort.rounds, "most rounds on each placement of a network")
      ->capture_default_str()
      ->check(CLI::Range(9, 100'000));
  app.add_option("--seconds", effort.seconds, "of these rounds, about")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
}

}  // namespace foldnorm::end_to_end
