// SPDX-License-Identifier: MIT
// fold_graph/weights.hpp -- a graph's parameters in a safetensors file: run them, fold them, write them.
#pragma once

#include <foldnorm/files/atomic_file.hpp>
#include <foldnorm/graph/certificate.hpp>
#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters_to_fold.hpp>
#include <foldnorm/graph/random_values.hpp>
#include <foldnorm/graph/text.hpp>
#include <foldnorm/safetensors/safetensors_file.hpp>
#include <foldnorm/safetensors/stored_parameters.hpp>
#include <foldnorm/safetensors/write_parameters.hpp>

#include <fnmatch.h>

#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "options.hpp"

namespace foldnorm::fold_graph {

// The parameters that patterns match. A pattern may match others beside weights (h.*), which are left alone; one that
// matches no weight is a mistake, and so is a name of something else.
inline InByOutNames in_by_out_names(Graph const& graph, std::vector<std::string> const& patterns) {
  InByOutNames names;
  for (std::string const& pattern : patterns) {
    bool matches = false;
    for (ParameterDescription const& parameter : graph.parameters()) {
      if (::fnmatch(pattern.c_str(), parameter.name.c_str(), 0) != 0 || !can_be_in_by_out(graph, parameter)) continue;
      names.insert(parameter.name);
      matches = true;
    }
    if (!matches) throw std::invalid_argument("--in-by-out " + pattern + " names no weight of a linear");
  }
  return names;
}

class Weights {
 public:
  // Throws as SafetensorsFile, StoredParameters and in_by_out_names do. The graph is not owned.
  Weights(Graph const& graph, Options const& options)
      : file_(options.parameters), stored_(file_, graph, in_by_out_names(graph, options.in_by_out)) {}
  Weights(Weights const&) = delete;
  Weights& operator=(Weights const&) = delete;

  StoredParameters const& stored() const { return stored_; }

 private:
  SafetensorsFile file_;
  StoredParameters stored_;
};

struct Evaluation {
  Certificate certificate;                               // of the fold in double
  std::optional<std::vector<OutputDifference>> rounded;  // of the fold in the weights' own types, which is written
};

// Without weights: random ones.
inline Evaluation evaluate_fold(Graph const& graph, FoldReport const& report, Weights const* weights,
                                Options const& options) {
  NamedValues const inputs = random_inputs(graph, options.tokens, options.seed + 1);
  if (!weights) {
    Parameters const random = random_parameters(graph, options.tokens, options.seed);
    return {certify(graph, random, fold_norms(graph, report, random), inputs), std::nullopt};
  }
  Parameters const stored = weights->stored().read();
  Parameters exact;
  for (auto const& [name, value] : stored) exact.set(name, stored.as<double>(name));
  return {certify(graph, exact, fold_norms(graph, report, exact), inputs),
          certify(graph, stored, fold_norms(graph, report, stored), inputs).outputs};
}

// Both files are complete on the disk before either takes its place.
inline void write_fold(Graph const& graph, FoldReport const& report, Weights const& weights, Options const& options) {
  FoldedModel const folded = fold_norms(graph, report, weights.stored().read(parameters_to_fold(graph, report)));
  std::optional<AtomicFile> parameters, description;
  if (!options.write.empty()) {
    parameters.emplace(options.write);
    write_changed(*parameters, weights.stored(), folded.graph, folded.parameters);
    parameters->close();
  }
  if (!options.write_graph.empty()) {
    std::ostringstream text;
    write_graph(text, folded.graph);
    description.emplace(options.write_graph);
    description->write(text.str());
    description->close();
  }
  if (parameters) parameters->commit();
  if (description) description->commit();
}

}  // namespace foldnorm::fold_graph
