// SPDX-License-Identifier: MIT
// end_to_end/comparison.hpp -- what comparing networks in the executor takes: the same inputs, how far outputs lie
// apart, the time of norms.
#pragma once

#include "inference/executor.hpp"
#include "matrix_difference.hpp"
#include "paired_timing.hpp"

#include <foldnorm/graph/graph.hpp>

#include <algorithm>
#include <cstdint>
#include <random>

namespace foldnorm::end_to_end {

using inference::Executor;

// The same inputs for every network.
inline void fill_inputs(Executor& executor, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (Node const& node : executor.graph().nodes()) {
    if (node.op == Operator::input) {
      inference::View x = executor.input(node.name);
      x = x.unaryExpr([&](float) { return static_cast<float>(random() >> 40) * 0x1p-23F - 1; });
    }
    if (node.op == Operator::ids) {
      auto const vocab = static_cast<std::uint64_t>(node.count(Key::vocab));
      for (Index& id : executor.ids(node.name)) id = static_cast<Index>(random() % vocab);
    }
  }
}

// Largest |difference| of all outputs, over the largest output.
inline double largest_difference(Executor const& a, Executor const& b) {
  double difference = 0, size = 0;
  for (Node const& node : a.graph().nodes()) {
    if (node.op != Operator::output) continue;
    difference = std::max(difference, matrix_difference(a.output(node.name), b.output(node.name)));
    size = std::max<double>(size, a.output(node.name).cwiseAbs().maxCoeff());
  }
  return difference / size;
}

// By the clock, where norms are long; where they are not, by computing each several times more.
inline double norm_seconds(Executor& executor, double seconds, int runs) {
  constexpr double long_norm = 2e-6;
  double const by_clock = executor.run_timing_norms();
  auto const is_norm = [](Node const& n) { return n.op == Operator::layer_norm || n.op == Operator::rms_norm; };
  auto const norms = static_cast<double>(std::ranges::count_if(executor.graph().nodes(), is_norm));
  if (by_clock > long_norm * norms) {
    double least = by_clock;
    for (int run = 1; run < std::min(runs, 5); ++run) least = std::min(least, executor.run_timing_norms());
    return least;
  }
  return repeated_norm_seconds(executor, std::clamp(static_cast<int>(0.5 * seconds / by_clock), 1, 16), runs);
}

}  // namespace foldnorm::end_to_end
