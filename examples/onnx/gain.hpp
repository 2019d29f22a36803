// SPDX-License-Identifier: MIT
// onnx/gain.hpp -- what a fold brings in ONNX Runtime: original and folded model timed in turns, beside the share of
// the norms.
#pragma once

#include "certificate.hpp"
#include "end_to_end/onnx_subject.hpp"
#include "end_to_end/paired_timing.hpp"
#include "model_inputs.hpp"
#include "onnx_runtime.hpp"
#include "optimized_model.hpp"

#include <onnx/onnx_pb.h>

#include <cmath>
#include <filesystem>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::onnx_models {

struct FoldGain {
  end_to_end::Timing timing;
  int norms = 0, folded_norms = 0;  // that are operators, in ONNX Runtime's own form of the two models

  // Repeated norms can take longer than those of the model do, where their values become tiny: then nothing is known.
  bool knows_share() const { return norms > 0 && timing.share > 0 && timing.share <= 1; }
  bool knows_ceiling() const { return knows_share() && folded_norms == norms; }
};

// On one thread, for some seconds. Both models are in memory several times meanwhile. Throws std::runtime_error where
// they cannot be run, or one run takes more than half a second, some hundred of which would be needed.
inline FoldGain time_fold(LocatedModel const& original, LocatedModel const& folded, InputOptions const& inputs) {
  constexpr int extra = 16;  // norms behind each one, where norms are timed
  std::vector<end_to_end::OnnxSubject> subjects;
  auto const load = [&](onnx::ModelProto const& model, std::filesystem::path const& folder, int repetitions) {
    subjects.emplace_back(model, inputs, 1, repetitions, std::filesystem::absolute(folder).string());
  };
  onnx::ModelProto const before = optimized_model(original);
  load(before, original.folder, extra);
  constexpr double longest_run = 0.5;
  double const once = end_to_end::detail::seconds_of(subjects[0], 1, 1);
  if (once > longest_run) {
    throw std::runtime_error("one run takes " + std::to_string(once) + " s: give smaller inputs (--size, --dimension)");
  }
  load(before, original.folder, 0);
  load(optimized_model(folded), folded.folder, extra);
  end_to_end::Comparison timed;
  timed.add_rounds(subjects, {}, [&](auto& subject, double, int runs) {
    return end_to_end::repeated_norm_seconds(subject, extra, runs);
  });
  return {timed.timing(), subjects[0].norms(), subjects[2].norms()};
}

// In words, with what the numbers do not say: that it is slower, that it is little, that nothing was measured.
inline void print_gain(std::ostream& out, FoldGain const& gain) {
  constexpr double little = 0.02;
  auto const percent = [](double part) { return std::round(part * 1e3) / 10; };
  end_to_end::Timing const& timing = gain.timing;
  end_to_end::FoldTiming const& fold = timing.folds.at(0);
  out << "time " << std::round(timing.seconds * 1e7) / 10 << " us a run in ONNX Runtime " << onnx_runtime::version()
      << " on one thread, norms take ";
  gain.knows_share() ? out << percent(timing.share) << " %\n" : out << "an unknown share\n";
  if (gain.knows_ceiling()) {
    out << "ceiling " << percent(fold.ceiling) << " %, by which the folded model's norms take less\n";
  }
  out << "gain " << percent(fold.gain()) << " % (quartiles " << percent(1 - fold.to_original.upper) << " .. "
      << percent(1 - fold.to_original.lower) << "; of an unchanged copy " << percent(1 - timing.control.upper) << " .. "
      << percent(1 - timing.control.lower) << ")\n";
  if (fold.gain() < -timing.spread()) {
    out << "This fold makes the model slower on this machine.\n";
  } else if (fold.gain() < little) {
    out << "This fold gains less than 2 % on this machine.\n";
  } else if (fold.gain() < timing.spread()) {
    out << "An unchanged copy differs by as much: the machine is too noisy, or the gain too small.\n";
  }
}

}  // namespace foldnorm::onnx_models
