// SPDX-License-Identifier: MIT
// tests/graph/dot_test.cpp -- drawings: every node and edge, and the verdicts in colour.
#include <foldnorm/graph/dot.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <sstream>
#include <string>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

char const* const drawn_model =
    "input x features=4\nlinear h x out=6 weight=W\nscale_channels s h value=v\nlayer_norm n/1 s\nrelu r n/1\n"
    "layer_norm m r\nlinear k m out=2 weight=K\noutput y k\n";

std::string drawn(Graph const& g, FoldReport const& report = {}) {
  std::ostringstream out;
  write_dot(out, g, report);
  return out.str();
}

// The line of the drawing that begins with this node.
std::string line_of(std::string const& drawing, std::string const& node) {
  std::istringstream lines(drawing);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  \"" + node + "\" [")) return line;
  }
  return "no such node";
}

}  // namespace

TEST_CASE("dot: without a report, a plain drawing of every node and edge") {
  Graph const g = graph_of("input x features=4\nids i vocab=3\nadd s x x\noutput y s\n");
  CHECK(drawn(g) ==
        "digraph foldnorm {\n"
        "  rankdir=TB;\n"
        "  node [shape=box, fontname=\"sans-serif\", fontsize=11];\n"
        "  edge [arrowsize=0.7];\n"
        "  \"x\" [label=\"x\\ninput 4\"];\n"
        "  \"i\" [label=\"i\\nids\"];\n"
        "  \"s\" [label=\"s\\nadd 4\"];\n"
        "  \"x\" -> \"s\";\n"
        "  \"x\" -> \"s\";\n"
        "  \"y\" [label=\"y\\noutput 4\"];\n"
        "  \"s\" -> \"y\";\n"
        "}\n");
}

TEST_CASE("dot: a report marks what folds, what stays and why, what is centered and what is composed") {
  Graph const g = graph_of(drawn_model);
  std::string const drawing = drawn(g, find_foldable_norms(g));
  CHECK_THAT(line_of(drawing, "n/1"), Contains("folds") && Contains("#b7e1b0"));
  CHECK_THAT(line_of(drawing, "m"), Contains("stays: nonlinear r") && Contains("#f4b6ae"));
  CHECK_THAT(line_of(drawing, "h"), Contains("#2457a5"));
  CHECK_THAT(line_of(drawing, "s"), Contains("dashed"));
  for (char const* plain : {"x", "r", "k", "y"})
    CHECK_THAT(line_of(drawing, plain), !Contains("color") && !Contains("style"));
}

TEST_CASE("dot: the same drawing without the report has no verdict in it") {
  std::string const drawing = drawn(graph_of(drawn_model));
  CHECK_THAT(drawing, !Contains("folds") && !Contains("stays") && !Contains("color") && !Contains("dashed"));
}

TEST_CASE("dot: norms whose gamma and beta move are drawn as bare, the others with the reason") {
  Graph const g = graph_of(
      "input x features=4\nlinear h x out=6 weight=W\nlayer_norm n h gamma=g\nlinear k n out=6 weight=K\n"
      "rms_norm m k gamma=c\nrelu r m\noutput y r\n");
  std::string const drawing = drawn(g, find_foldable_norms(g, moving_affine()));
  CHECK_THAT(line_of(drawing, "n"), Contains("folds\\nbare") && Contains("#b7e1b0"));
  CHECK_THAT(line_of(drawing, "m"), Contains("keeps gamma, beta: read_unforgiven r") && !Contains("color"));
  CHECK_THAT(drawn(g, find_foldable_norms(g)), !Contains("bare") && !Contains("keeps"));
}

TEST_CASE("dot: an untied head keeps a copy, and is not drawn as centered") {
  Graph const g = graph_of(
      "ids t vocab=7\nembedding e t features=4 table=E\nlayer_norm n e\nlinear h n out=7 weight=E\noutput y h\n");
  std::string const drawing = drawn(g, find_foldable_norms(g, {.tied = TiedTables::untie}));
  CHECK_THAT(line_of(drawing, "e"), Contains("#2457a5"));
  CHECK_THAT(line_of(drawing, "h"), !Contains("#2457a5") && !Contains("corrected"));
  CHECK_THAT(line_of(drawn(g, find_foldable_norms(g, correcting())), "h"), Contains("corrected"));
}
