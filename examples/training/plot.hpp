// SPDX-License-Identifier: MIT
// training/plot.hpp -- a gnuplot script beside its data, and the pictures where gnuplot is installed.
#pragma once

#include "run_program.hpp"

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace foldnorm::training {

// Writes directory/stem.gp and runs it there, so that the script names files of that directory. Returns whether gnuplot
// was found and ended well. Throws std::runtime_error if the script cannot be written.
inline bool plot(std::filesystem::path const& directory, std::string const& stem, std::string const& script) {
  std::filesystem::path const file = directory / (stem + ".gp");
  std::ofstream stream(file);
  stream << script;
  stream.close();
  if (!stream) throw std::runtime_error(file.string() + ": cannot be written");
  std::string folder;  // between single quotes, of which gnuplot reads two as one
  for (char const c : directory.string()) folder += c == '\'' ? "''" : std::string(1, c);
  return run_program({"gnuplot", "-e", "cd '" + folder + "'", "-e", "load '" + stem + ".gp'"});
}

}  // namespace foldnorm::training
