// SPDX-License-Identifier: MIT
// tests/consumer/no_exceptions.cpp -- a program without exceptions: a mistake ends in its handler.
#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/graph.hpp>

#include <cstdlib>
#include <cstring>

#if defined(__cpp_exceptions)
#error "to be compiled with -fno-exceptions"
#endif

int main() {
  foldnorm::set_error_handler([](std::exception const& error) {
    std::exit(std::strcmp(error.what(), "linear l: an input is no node of this graph") == 0 ? 0 : 1);
  });
  foldnorm::Graph graph;
  graph.linear("l", foldnorm::NodeId{7}, 4, "W");
  return 2;  // not reached
}
