// SPDX-License-Identifier: MIT
// tests/graph/fold_report_test.cpp -- the verdict lines, word for word.
#include <foldnorm/graph/fold_report.hpp>

#include "catch.hpp"

#include <sstream>
#include <string>
#include <utility>

using namespace foldnorm;

namespace {

std::string printed(FoldReport const& report) {
  std::ostringstream out;
  out << report;
  return out.str();
}

Verdict fold(std::string name) { return {NodeId{1}, std::move(name), std::nullopt}; }
Verdict keep(std::string name, Reason reason, std::string blame) {
  return {NodeId{1}, std::move(name), Refusal{reason, NodeId{0}, std::move(blame)}};
}

}  // namespace

TEST_CASE("fold_report: prints norms first, then what is centered, in the order in which they are listed") {
  FoldReport report;
  report.norms = {fold("z"), keep("a", Reason::input, "x"), fold("m")};
  report.centerings = {{"W", {{0, 6}}, 6}, {"B", {{0, 6}}, 6}};
  report.compositions = {{NodeId{2}, NodeId{3}}};  // no line of their own
  report.untied = {"W"};
  CHECK(printed(report) == "fold z\nkeep a input x\nfold m\ncenter W\ncenter B\n");
  CHECK(report.folds() == 2);
  CHECK(printed(FoldReport{}).empty());
}

TEST_CASE("fold_report: spells intervals out unless one covers the axis") {
  FoldReport report;
  report.centerings = {{"whole", {{0, 6}}, 6},
                       {"half", {{0, 3}}, 6},
                       {"both", {{0, 3}, {3, 6}}, 6},
                       {"end", {{5, 6}}, 6},
                       {"one", {{0, 1}}, 1}};
  CHECK(printed(report) == "center whole\ncenter half 0:3\ncenter both 0:3 3:6\ncenter end 5:6\ncenter one\n");
}

TEST_CASE("fold_report: what becomes of gammas and betas comes last") {
  FoldReport report;
  report.norms = {fold("z")};
  report.centerings = {{"W", {{0, 6}}, 6}};
  report.affines = {{NodeId{1}, "z", {NodeId{2}}, true, std::nullopt},
                    {NodeId{3}, "a", {}, false, Refusal{Reason::output, NodeId{4}, "y"}}};
  CHECK(printed(report) == "fold z\ncenter W\naffine z\nkeep_affine a output y\n");
}

TEST_CASE("fold_report: every reason has the word of the format") {
  std::string words;
  for (Reason const reason :
       {Reason::input, Reason::nonlinear, Reason::norm_affine, Reason::scale, Reason::grouped, Reason::feature_mix,
        Reason::read_unforgiven, Reason::output, Reason::tied, Reason::dropout, Reason::unknown, Reason::left_alone}) {
    FoldReport report;
    report.norms = {keep("n", reason, "b")};
    words += printed(report);
  }
  CHECK(words ==
        "keep n input b\nkeep n nonlinear b\nkeep n norm_affine b\nkeep n scale b\nkeep n grouped b\n"
        "keep n feature_mix b\nkeep n read_unforgiven b\nkeep n output b\nkeep n tied b\nkeep n dropout b\n"
        "keep n unknown b\nkeep n left_alone b\n");
}

TEST_CASE(
    "fold_report: corrected heads and inserted centers come behind what is centered, or a comment that there are "
    "none") {
  FoldReport report;
  report.norms = {fold("z")};
  report.centerings = {{"W", {{0, 6}}, 6}};
  report.affines = {{NodeId{1}, "z", {NodeId{2}}, true, std::nullopt}};
  CHECK(printed(report) == "fold z\ncenter W\naffine z\n");
  report.placement = Placement{};
  CHECK(printed(report) == "fold z\ncenter W\n# nothing worth inserting\naffine z\n");
  report.placement->sets = {{{{NodeId{2}, "a", 1}, {NodeId{4}, "c", 2}}, {{NodeId{1}, "z", 4}}},
                            {{{NodeId{3}, "b", 1}}, {}}};
  CHECK(printed(report) == "fold z\ncenter W\ninsert a\ninsert c\ninsert b\naffine z\n");
  report.corrected = {{NodeId{5}, "head", "E"}};
  CHECK(printed(report) == "fold z\ncenter W\ncorrect head E\ninsert a\ninsert c\ninsert b\naffine z\n");
  CHECK(report.placement->sets[0].cost() == 3);
  CHECK(report.placement->sets[0].profit() == 4);
}
