// SPDX-License-Identifier: MIT
// training/save_model.hpp -- a trained model as files: its layer graph as text, its parameters as safetensors.
#pragma once

#include <foldnorm/files/atomic_file.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/text.hpp>
#include <foldnorm/safetensors/write_parameters.hpp>

#include "fold_model.hpp"

#include <filesystem>
#include <sstream>
#include <string>

namespace foldnorm::training {

// Writes directory/stem.graph and directory/stem.safetensors, which fold_graph reads; parameters in the type in which
// the model trains. Throws std::runtime_error if one cannot be written.
template <class Model>
void save_model(Model const& model, std::filesystem::path const& directory, std::string const& stem) {
  std::filesystem::create_directories(directory);
  Graph const graph = model.describe();
  std::ostringstream text;
  write_graph(text, graph);
  AtomicFile description(directory / (stem + ".graph")), parameters(directory / (stem + ".safetensors"));
  description.write(text.str());
  write_parameters(parameters, graph, to_parameters<typename Model::Scalar>(model.parameters));
  description.commit();
  parameters.commit();
}

}  // namespace foldnorm::training
