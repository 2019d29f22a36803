// SPDX-License-Identifier: MIT
// examples/command_line.hpp -- what the programs' main() have in common.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>

namespace foldnorm {

// The status; or 2, with a message, if what the program has printed did not arrive: a full disk, say.
inline int status_of_output(int status) {
  bool const arrived = static_cast<bool>(std::cout.flush()) && std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (arrived) return status;
  std::cerr << "standard output cannot be written\n";
  return 2;
}

// For options that name a file: an empty name is a mistake (an unset variable of a shell), not an option left out.
inline CLI::Validator named_file() {
  return {[](std::string& name) { return std::string(name.empty() ? "the file's name is empty" : ""); }, ""};
}

// Reads the command line into what `app` refers to, and gives run()'s exit status: 0, or 1 where a claim fails. A
// command line or input that the program cannot use is 2, with a message; --help is 0.
template <class Run>
int run_command_line(CLI::App& app, int argument_count, char* arguments[], Run const& run) {
  try {
    app.parse(argument_count, arguments);
  } catch (CLI::ParseError const& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    return status_of_output(run());
  } catch (std::exception const& error) {
    std::cerr << std::filesystem::path(arguments[0]).filename().string() << ": " << error.what() << '\n';
    return 2;
  }
}

}  // namespace foldnorm
