// SPDX-License-Identifier: MIT
// tests/graph/segments_test.cpp -- sets of intervals, held against the linear spans that they stand for.
#include <foldnorm/graph/segments.hpp>

#include <Eigen/QR>

#include "catch.hpp"

#include <vector>

using namespace foldnorm;
using detail::Segments;

namespace {

using Run = Segments::Run;

// Every list of disjoint ascending intervals in [begin, size).
void collect(Index begin, Index size, std::vector<Interval>& prefix, std::vector<std::vector<Interval>>& all) {
  all.push_back(prefix);
  for (Index b = begin; b < size; ++b) {
    for (Index e = b + 1; e <= size; ++e) {
      prefix.push_back({b, e});
      collect(e, size, prefix, all);
      prefix.pop_back();
    }
  }
}
std::vector<std::vector<Interval>> all_lists(Index size) {
  std::vector<std::vector<Interval>> all;
  std::vector<Interval> prefix;
  collect(0, size, prefix, all);
  return all;
}

Segments segments_of(std::vector<Interval> const& intervals) {
  Segments result;
  for (Interval const& i : intervals) result.append({i.begin, i.end, false});
  return result;
}

Matrix<double> indicators(std::vector<Interval> const& intervals, Index size) {
  Matrix<double> columns = Matrix<double>::Zero(size, static_cast<Index>(intervals.size()));
  for (std::size_t k = 0; k < intervals.size(); ++k) {
    columns.col(static_cast<Index>(k)).segment(intervals[k].begin, intervals[k].end - intervals[k].begin).setOnes();
  }
  return columns;
}

Index rank_of(Matrix<double> const& a) {
  return a.cols() == 0 ? 0 : Eigen::ColPivHouseholderQR<Matrix<double>>(a).rank();
}

Index joint_rank(Matrix<double> const& a, Matrix<double> const& b) {
  Matrix<double> both(a.rows(), a.cols() + b.cols());
  both << a, b;
  return rank_of(both);
}

}  // namespace

TEST_CASE("meet: the span of the result is the intersection of the two spans, for every pair of lists of 5 features") {
  Index const size = 5;
  auto const lists = all_lists(size);
  REQUIRE(lists.size() == 89);  // every second Fibonacci number
  for (auto const& a : lists) {
    for (auto const& b : lists) {
      std::vector<Interval> const common = meet(segments_of(a), segments_of(b)).intervals();
      Matrix<double> const sa = indicators(a, size), sb = indicators(b, size), sc = indicators(common, size);
      bool const inside_both = joint_rank(sa, sc) == rank_of(sa) && joint_rank(sb, sc) == rank_of(sb);
      // dim(A intersected with B) = dim A + dim B - dim(A + B)
      bool const everything = rank_of(sc) == rank_of(sa) + rank_of(sb) - joint_rank(sa, sb);
      if (!inside_both || !everything) {
        CAPTURE(sa, sb, sc);
        CHECK(inside_both);
        CHECK(everything);
      }
    }
  }
}

TEST_CASE("meet: two blocks and the whole have the whole in common, one block and the whole nothing") {
  CHECK(meet(Segments::blocks(8, 2), Segments::whole(8)) == Segments::whole(8));
  CHECK(meet(Segments::interval(0, 4), Segments::whole(8)) == Segments::none());
  // A chain of overlaps is one component; touching ends do not overlap.
  Segments const a = segments_of({{0, 3}, {3, 6}, {6, 8}});
  Segments const b = segments_of({{0, 2}, {2, 4}, {4, 6}, {6, 8}});
  CHECK(meet(a, b) == segments_of({{0, 6}, {6, 8}}));
}

TEST_CASE("meet: an interval that starts under skipped single features leaves its own part uncovered") {
  // [2, 4) and [3, 5) overlap in a component that neither covers.
  CHECK(meet(segments_of({{3, 5}}), segments_of({{0, 1}, {2, 4}})).empty());
  CHECK(meet(segments_of({{0, 1}, {2, 4}}), segments_of({{3, 5}})).empty());
}

TEST_CASE("meet: all single features are neutral, none is absorbing") {
  for (auto const& list : all_lists(4)) {
    Segments const a = segments_of(list);
    CHECK(meet(a, Segments::each(0, 4)) == a);
    CHECK(meet(Segments::each(0, 4), a) == a);
    CHECK(meet(a, Segments::none()).empty());
    CHECK(meet(Segments::none(), a).empty());
    CHECK(meet(a, a) == a);
  }
}

TEST_CASE("segments: a run of single features stays one run, however many features there are") {
  Index const many = Index{1} << 30;
  CHECK(Segments::each(0, many).runs() == std::vector<Run>{{0, many, true}});
  CHECK(meet(Segments::each(0, many), Segments::each(5, many + 5)).runs() == std::vector<Run>{{5, many, true}});
  CHECK(meet(Segments::whole(many), Segments::each(0, many)) == Segments::whole(many));
  CHECK(Segments::blocks(many, many) == Segments::each(0, many));
}

TEST_CASE("segments: equal spans have equal lists") {
  CHECK(Segments::interval(3, 4) == Segments::each(3, 4));
  CHECK(Segments::interval(3, 3) == Segments::none());
  CHECK(segments_of({{0, 1}, {1, 2}, {2, 3}}) == Segments::each(0, 3));
  CHECK(Segments::whole(1) == Segments::each(0, 1));
  CHECK_FALSE(segments_of({{0, 2}, {2, 4}}) == Segments::whole(4));
}

TEST_CASE("segments: covers asks for intervals that fill a region and lie inside it") {
  Segments const s = segments_of({{0, 2}, {2, 4}, {5, 8}});
  CHECK(s.covers(0, 4));
  CHECK(s.covers(2, 4));
  CHECK(s.covers(5, 8));
  CHECK(s.covers(3, 3));
  CHECK_FALSE(s.covers(0, 3));  // cuts one
  CHECK_FALSE(s.covers(1, 4));
  CHECK_FALSE(s.covers(2, 8));  // a gap
  CHECK_FALSE(s.covers(5, 9));  // beyond the end
  CHECK_FALSE(Segments::none().covers(0, 1));
  Segments const with_singles = Segments::interval(0, 4).with_each_outside(0, 4, 8);
  CHECK(with_singles.covers(0, 6));
  CHECK(with_singles.covers(5, 7));
  CHECK_FALSE(with_singles.covers(3, 6));
}

TEST_CASE("segments: covers_each is true only where every feature stands alone") {
  Segments const s = Segments::interval(0, 4).with_each_outside(0, 4, 8);
  CHECK(s.covers_each(4, 8));
  CHECK(s.covers_each(5, 7));
  CHECK(s.covers_each(2, 2));
  CHECK_FALSE(s.covers_each(0, 4));
  CHECK_FALSE(s.covers_each(3, 5));
  CHECK_FALSE(s.covers_each(7, 9));
}

TEST_CASE("segments: crosses finds an interval that reaches out of its surroundings") {
  Segments const s = segments_of({{0, 2}, {2, 6}});
  CHECK(s.crosses(2, 4, 0, 4));
  CHECK_FALSE(s.crosses(0, 2, 0, 4));  // [2, 6) does not meet [0, 2)
  CHECK_FALSE(s.crosses(2, 4, 0, 6));
  CHECK_FALSE(Segments::each(0, 8).crosses(0, 8, 2, 4));
}

TEST_CASE("segments: inside keeps whole intervals and pieces of runs of single features, moved by the shift") {
  Segments const s = segments_of({{0, 2}, {2, 6}}).with_each_outside(0, 6, 10);
  CHECK(s.inside(0, 6) == segments_of({{0, 2}, {2, 6}}));
  CHECK(s.inside(1, 6) == Segments::interval(2, 6));
  CHECK(s.inside(2, 8, -2) == Segments::interval(0, 4).with_each_outside(0, 4, 6));
  CHECK(s.inside(3, 5).empty());
  CHECK(s.inside(7, 9, 10) == Segments::each(17, 19));
}

TEST_CASE("segments: inside_blocks drops what spans two blocks") {
  CHECK(Segments::whole(8).inside_blocks(4).empty());
  CHECK(Segments::blocks(8, 2).inside_blocks(4) == Segments::blocks(8, 2));
  CHECK(segments_of({{0, 3}, {3, 5}, {5, 8}}).inside_blocks(4) == segments_of({{0, 3}, {5, 8}}));
  CHECK(Segments::each(0, 8).inside_blocks(4) == Segments::each(0, 8));
}

TEST_CASE("segments: within a region an interval must fit") {
  CHECK(Segments::blocks(8, 4).within(Segments::blocks(8, 2)) == Segments::blocks(8, 4));
  CHECK(Segments::blocks(8, 2).within(Segments::interval(0, 4)) == Segments::interval(0, 4));
  CHECK(Segments::each(0, 8).within(Segments::each(2, 4)) == Segments::each(2, 4));
  CHECK(Segments::blocks(8, 2).within(Segments::each(0, 8)).empty());
  CHECK(Segments::each(0, 8).within(Segments::interval(2, 4)) == Segments::each(2, 4));
  CHECK(Segments::whole(8).within(Segments::blocks(8, 2)).empty());
}

TEST_CASE("segments: parts of one list are put in order, and what is there twice counts once") {
  CHECK(Segments::of_parts({{6, 8}, {0, 2}, {2, 6}, {6, 8}}) == segments_of({{0, 2}, {2, 6}, {6, 8}}));
  CHECK(Segments::of_parts({{2, 5, true}, {0, 3, true}}) == Segments::each(0, 5));
  CHECK(Segments::of_parts({}).empty());
}

TEST_CASE("segments: all lists meet as one after the other does") {
  std::vector<Segments> lists;
  Segments expected = Segments::each(0, 12);
  for (Index k = 0; k < 6; ++k) {  // each says of two features what the others leave open
    lists.push_back(Segments::interval(2 * k, 2 * k + 2).with_each_outside(2 * k, 2 * k + 2, 12));
    expected = meet(expected, lists.back());
    CHECK(meet_all(lists) == expected);
  }
  CHECK(expected == Segments::blocks(12, 6));
  lists.push_back(Segments::blocks(12, 4));
  CHECK(meet_all(lists) == Segments::blocks(12, 2));
}

TEST_CASE("segments: intervals spells out runs of single features") {
  Segments const s = Segments::interval(1, 3).with_each_outside(1, 3, 5);
  CHECK(s.intervals() == std::vector<Interval>{{0, 1}, {1, 3}, {3, 4}, {4, 5}});
}
