// SPDX-License-Identifier: MIT
// training/run_program.hpp -- another program, run to its end: Graphviz or gnuplot, where they are installed.
#pragma once

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace foldnorm::training {

// Whether the program words[0] was found on the path and ended well. No shell is involved: words need no quotes.
inline bool run_program(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t process = 0;
  if (posix_spawnp(&process, arguments[0], nullptr, nullptr, arguments.data(), environ) != 0) return false;
  int status = 0;
  return waitpid(process, &status, 0) == process && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace foldnorm::training
