// SPDX-License-Identifier: MIT
// bench/implementation.hpp -- who computes an operation: foldnorm, a peer library, plain code.
#pragma once

#include "problem.hpp"

#include <functional>
#include <string>
#include <vector>

namespace bench {

using Run = std::function<void()>;  // one call on the problem's buffers

// `prepare` does what a user does once (primitives, sessions, the forward before a backward) and returns the call to be
// timed; an empty Run where the implementation has no such operation. The problem outlives the Run.
struct Implementation {
  std::string name;
  std::function<Run(Problem&)> prepare;
};

struct Library {
  std::string version;  // "oneDNN 2.6.3"; empty for plain code
  std::vector<Implementation> implementations;
};

// Each is one file, ours.cpp or peers/NAME.cpp. `threads` is how many a call may use; who takes no number uses one.
Library ours(int threads);
Library eigen_matrix();
Library eigen_column();
Library textbook();
Library textbook_fast_math();
Library textbook_tuned();
Library onednn(int threads);
Library torch(int threads);
Library onnxruntime(int threads);

inline constexpr char const* ours_name = "foldnorm";

// The same loops as textbook_fast_math, with g++'s flags for sums in several registers: shown apart from the peers.
inline constexpr char const* tuned_name = "tuned loops";

// Of x to the output, the limits: memcpy, and where the machine has them non-temporal stores.
std::vector<Implementation> copies(int threads);
inline constexpr char const* memcpy_name = "memcpy";
inline constexpr char const* streaming_copy_name = "streaming copy";

// Ours first, then every peer of this build.
std::vector<Library> libraries(int threads);

// Peers that were not found when this build was configured.
std::vector<std::string> missing_libraries();

}  // namespace bench
