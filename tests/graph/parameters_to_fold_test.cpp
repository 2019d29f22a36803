// SPDX-License-Identifier: MIT
// tests/graph/parameters_to_fold_test.cpp -- a fold of the parameters that it needs is the fold of all of them.
#include <foldnorm/graph/parameters_to_fold.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <set>
#include <string>

using namespace foldnorm;
using namespace foldnorm::testing;

namespace {

// Centered, composed, untied and moved parameters, and some that nothing happens to.
char const* const all_kinds_of_changes = R"(
  ids t vocab=7
  embedding e t features=6 table=E
  linear branch e out=6 weight=A
  batch_norm bn branch scale=s shift=u
  layer_norm ln1 bn gamma=g0 beta=b0
  relu r ln1
  linear back r out=6 weight=B bias=b
  add_parameter position back value=P
  layer_norm n position gamma=g beta=c
  linear fc n out=5 weight=W
  relu q fc
  linear out q out=6 weight=V bias=v
  output y out
)";
char const* const tied_head = R"(
  ids t vocab=7
  embedding e t features=6 table=E
  layer_norm n e gamma=g beta=c
  linear h n out=7 weight=E
  output y h
)";

}  // namespace

TEST_CASE("parameters_to_fold: a fold of these alone gives the values that a fold of all gives") {
  Graph const g = graph_of(GENERATE(all_kinds_of_changes, tied_head));
  FoldOptions options;
  options.affine = GENERATE(false, true);
  options.tied = TiedTables::untie;
  FoldReport const report = find_foldable_norms(g, options);
  REQUIRE(report.folds() > 0);
  Parameters const all = random_parameters(g, 3, 5);
  std::set<std::string, std::less<>> const names = parameters_to_fold(g, report);
  Parameters needed;
  for (std::string const& name : names) needed.set(name, all.at(name));
  FoldedModel const whole = fold_norms(g, report, all), part = fold_norms(g, report, needed);
  CHECK(part.graph == whole.graph);
  for (auto const& [name, value] : whole.parameters) {
    CAPTURE(name);
    bool const same = part.parameters.contains(name) ? part.parameters.at(name) == value : all.at(name) == value;
    CHECK(same);
  }
}

TEST_CASE("parameters_to_fold: what a fold does not change it does not need") {
  Graph const g = graph_of(all_kinds_of_changes);
  std::set<std::string, std::less<>> const names = parameters_to_fold(g, find_foldable_norms(g));
  CHECK(names == std::set<std::string, std::less<>>{"A", "B", "P", "b", "s", "u"});
}
