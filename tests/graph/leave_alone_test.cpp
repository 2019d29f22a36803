// SPDX-License-Identifier: MIT
// tests/graph/leave_alone_test.cpp -- norms that are to stay, and what is then not done for them.
#include <foldnorm/graph/find_foldable_norms.hpp>

#include "graph/graph_testing.hpp"

#include "catch.hpp"

#include <string>

using namespace foldnorm;
using namespace foldnorm::testing;

namespace {

// Two layers, of which the second is needed by n2 alone.
char const* const two_layers = R"(
  input x features=5
  linear a x out=6 weight=A bias=a0
  layer_norm n1 a gamma=g beta=c
  relu r n1
  linear b r out=6 weight=B
  layer_norm n2 b gamma=h beta=d
  output y n2
)";
// A stream that one center frees, for two norms.
char const* const nonlinear_stream = R"(
  input x features=5
  linear a x out=6 weight=A
  relu r a
  layer_norm n1 r gamma=g beta=c
  layer_norm n2 r gamma=h beta=d
  output y n1
  output z n2
)";

FoldOptions leaving(std::string const& text, std::initializer_list<char const*> names) {
  Graph const graph = graph_of(text);
  FoldOptions options;
  for (char const* name : names) options.leave_alone.insert(*graph.find_node(name));
  return options;
}

}  // namespace

TEST_CASE("leave_alone: a norm that is left alone stays, and nothing is centered for it") {
  CHECK(verdicts(two_layers) == "fold n1\nfold n2\ncenter A\ncenter a0\ncenter B\n");
  CHECK(verdicts(two_layers, leaving(two_layers, {"n2"})) == "fold n1\nkeep n2 left_alone n2\ncenter A\ncenter a0\n");
  CHECK(verdicts(two_layers, leaving(two_layers, {"n1"})) == "keep n1 left_alone n1\nfold n2\ncenter B\n");
  CHECK(verdicts(two_layers, leaving(two_layers, {"n1", "n2"})) == "keep n1 left_alone n1\nkeep n2 left_alone n2\n");
}

TEST_CASE("leave_alone: a center is not inserted for norms that are left alone") {
  FoldOptions options;
  options.insert_centering = PlacementCosts{};
  CHECK(verdicts(nonlinear_stream, options) == "fold n1\nfold n2\ninsert r\n");
  options = leaving(nonlinear_stream, {"n2"});
  options.insert_centering = PlacementCosts{};  // as much as it frees
  CHECK(verdicts(nonlinear_stream, options) == "keep n1 nonlinear r\nkeep n2 nonlinear r\n# nothing worth inserting\n");
}

TEST_CASE("leave_alone: gamma and beta of a norm that is left alone stay") {
  std::string const text = R"(
    input x features=5
    linear a x out=6 weight=A
    layer_norm n a gamma=g beta=c
    linear b n out=4 weight=B bias=b0
    output y b
  )";
  FoldOptions options;
  options.affine = true;
  CHECK(verdicts(text, options) == "fold n\ncenter A\naffine n\n");
  options = leaving(text, {"n"});
  options.affine = true;
  CHECK(verdicts(text, options) == "keep n left_alone n\nkeep_affine n left_alone n\n");
}

TEST_CASE("is_centered: is asked of parameters without values, and believed") {
  // B's shift is seen by the relu; n folds only if B is centered already.
  std::string const text = R"(
    input x features=5
    linear b x out=6 weight=B bias=b0
    relu r b
    layer_norm n b
    output y n
    output z r
  )";
  std::string asked;
  FoldOptions options;
  options.is_centered = [&](std::string const& name) {
    asked += name + " ";
    return true;
  };
  CHECK(verdicts(text, options) == "fold n\n");
  CHECK(asked == "B b0 ");
  options.is_centered = [](std::string const& name) { return name != "b0"; };
  CHECK(verdicts(text, options) == "keep n read_unforgiven r\n");
  Parameters values;
  values.set("b0", Vector<double>(Vector<double>::Zero(6)));
  options.parameters = &values;  // which come first
  CHECK(verdicts(text, options) == "fold n\n");
  options.mode = FoldMode::training;
  CHECK(verdicts(text, options) == "keep n read_unforgiven r\n");
}
