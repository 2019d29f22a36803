// SPDX-License-Identifier: MIT
// examples/command_line.hpp -- what the programs' main() have in common.
#pragma once

#include <CLI/CLI.hpp>

#include <exception>
#include <filesystem>
#include <iostream>

namespace foldnorm {

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
    return run();
  } catch (std::exception const& error) {
    std::cerr << std::filesystem::path(arguments[0]).filename().string() << ": " << error.what() << '\n';
    return 2;
  }
}

}  // namespace foldnorm
