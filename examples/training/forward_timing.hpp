// SPDX-License-Identifier: MIT
// training/forward_timing.hpp -- forward time of a model before and after a change, against the noise of the machine.
//
// Every round times three models in turn: before (A), after (B), and a copy of `before` (A again). The median of the
// rounds' ratios B/A is the effect; A/A is what the same measurement says about no change at all. An effect inside the
// quartiles of A/A is not established.
#pragma once

#include "quartiles.hpp"
#include "trainer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>
#include <vector>

namespace foldnorm::training {

struct ForwardTiming {
  double before = 0, after = 0;                        // seconds per batch, medians
  Quartiles after_to_before, before_to_before;         // of the rounds' ratios
  double norm_share_before = 0, norm_share_after = 0;  // of the forward time, medians
};

// One thread, batches of `batch` images, `rounds` rounds of about `seconds_per_measurement` each and model.
template <class Model>
ForwardTiming time_forward(Model const& before, Model const& after, ImageSet const& images, Index batch, int rounds,
                           double seconds_per_measurement) {
  using Clock = std::chrono::steady_clock;
  struct Subject {
    Model model;
    typename Model::Activations activations;
    std::vector<double> seconds, norm_shares;
  };
  std::array<Subject, 3> subjects{Subject{before, {}, {}, {}}, Subject{after, {}, {}, {}}, Subject{before, {}, {}, {}}};
  std::vector<Index> chosen(static_cast<std::size_t>(batch));
  std::iota(chosen.begin(), chosen.end(), Index{0});
  Matrix<float> pixels;
  gather_images(images, chosen, pixels);
  auto const x = as_input(before, pixels);

  auto const measure = [&](Subject& subject, int repetitions) {
    Model::take_norm_seconds(subject.activations);
    auto const start = Clock::now();
    for (int i = 0; i < repetitions; ++i) subject.model.forward(x, subject.activations, Pass::inference);
    double const seconds = std::chrono::duration<double>(Clock::now() - start).count();
    subject.norm_shares.push_back(Model::take_norm_seconds(subject.activations) / seconds);
    subject.seconds.push_back(seconds / repetitions);
  };

  for (Subject& subject : subjects) measure(subject, 3);  // warms up, and says how many repetitions it takes
  int const repetitions = std::max(1, static_cast<int>(seconds_per_measurement / subjects[0].seconds.back()));
  for (Subject& subject : subjects) {
    subject.seconds.clear();
    subject.norm_shares.clear();
  }
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t turn = 0; turn < subjects.size(); ++turn) {  // each model comes first, second, third in turn
      measure(subjects[(turn + static_cast<std::size_t>(round)) % subjects.size()], repetitions);
    }
  }

  auto const ratio = [&](Subject const& subject) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < subject.seconds.size(); ++i) {
      ratios.push_back(subject.seconds[i] / subjects[0].seconds[i]);
    }
    return quartiles(ratios);
  };
  auto const& [a, b, control] = subjects;
  return {quartiles(a.seconds).median,     quartiles(b.seconds).median,    ratio(b), ratio(control),
          quartiles(a.norm_shares).median, quartiles(b.norm_shares).median};
}

}  // namespace foldnorm::training
