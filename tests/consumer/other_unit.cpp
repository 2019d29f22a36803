// SPDX-License-Identifier: MIT
// tests/consumer/other_unit.cpp -- a second translation unit that includes everything.
#include <foldnorm/foldnorm.hpp>

foldnorm::Index nodes_of_a_graph() {
  foldnorm::Graph graph;
  graph.output("y", graph.input("x", 4));
  return static_cast<foldnorm::Index>(graph.nodes().size());
}
