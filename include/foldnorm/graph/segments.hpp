// SPDX-License-Identifier: MIT
// foldnorm/graph/segments.hpp -- sets of disjoint intervals of the feature axis, the currency of the fold analysis.
//
// Read as "zero-mean": the features of each interval sum to zero. Read as "tolerated": a shift c_k * 1 on each
// interval, one c_k per interval and token, changes no output. Either way a list stands for the span of its indicator
// vectors:
//   none        nothing
//   whole(m)    one interval [0, m)
//   each(b, e)  every feature of [b, e) by itself (tolerated: nobody reads it; zero-mean: it is zero), kept as ONE run
//   so
//               that lists stay short whatever the number of features
// Spec: foldable LayerNorm (arXiv:2605.14521) with the segment refinement derived in docs/folding.md.
#pragma once

#include <foldnorm/core/types.hpp>
#include <foldnorm/fold/interval.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

class Segments {
 public:
  // Either one interval, or a run of intervals of one feature each.
  struct Run {
    Index begin = 0;
    Index end = 0;
    bool each = false;
    bool operator==(Run const&) const = default;
  };

  static Segments none() { return {}; }
  static Segments whole(Index size) { return blocks(size, 1); }
  static Segments each(Index begin, Index end) {
    Segments result;
    result.append({begin, end, true});
    return result;
  }
  static Segments interval(Index begin, Index end) {
    Segments result;
    result.append({begin, end, false});
    return result;
  }
  // `count` equal intervals that cover [0, size). Precondition: count divides size.
  static Segments blocks(Index size, Index count) {
    Segments result;
    Index const length = size / count;
    if (length == 1) return each(0, size);
    for (Index k = 0; k < count; ++k) result.append({k * length, (k + 1) * length, false});
    return result;
  }

  // All of these intervals, in any order. Precondition: they are of one list of disjoint intervals.
  static Segments of_parts(std::vector<Run> parts) {
    std::ranges::sort(parts, {}, &Run::begin);
    Segments result;
    for (Run const& part : parts) result.append(part);
    return result;
  }

  bool empty() const { return runs_.empty(); }
  std::vector<Run> const& runs() const { return runs_; }
  bool operator==(Segments const&) const = default;

  // Is [begin, end) exactly covered by intervals that lie inside it?
  bool covers(Index begin, Index end) const {
    Index position = begin;
    for (auto run = first_ending_after(begin); run != runs_.end() && position < end; ++run) {
      if (run->begin > position || (!run->each && (run->begin < position || run->end > end))) return false;
      position = std::min(run->end, end);
    }
    return position >= end;
  }
  // Is every feature of [begin, end) an interval by itself?
  bool covers_each(Index begin, Index end) const { return each_until(begin) >= end; }
  // The end of the run of single features that `begin` lies in; else `begin`.
  Index each_until(Index begin) const {
    auto const run = first_ending_after(begin);
    return run != runs_.end() && run->each && run->begin <= begin ? run->end : begin;
  }
  // Does an interval that meets [begin, end) reach out of [outer_begin, outer_end)?
  bool crosses(Index begin, Index end, Index outer_begin, Index outer_end) const {
    return std::any_of(first_ending_after(begin), runs_.end(), [&](Run const& run) {
      return !run.each && run.begin < end && (run.begin < outer_begin || run.end > outer_end);
    });
  }

  // The intervals that lie inside [begin, end), moved by `shift`.
  Segments inside(Index begin, Index end, Index shift = 0) const {
    Segments result;
    for (auto run = first_ending_after(begin); run != runs_.end() && run->begin < end; ++run) {
      if (run->each) {
        result.append({std::max(run->begin, begin) + shift, std::min(run->end, end) + shift, true});
      } else if (run->begin >= begin && run->end <= end) {
        result.append({run->begin + shift, run->end + shift, false});
      }
    }
    return result;
  }
  // The intervals that lie inside one block of `length` features.
  Segments inside_blocks(Index length) const {
    return filtered([&](Run const& run) { return run.each || run.begin / length == (run.end - 1) / length; });
  }
  // The intervals that lie inside some interval of `regions`.
  Segments within(Segments const& regions) const {
    Segments result;
    for (Run const& region : regions.runs_) {
      Segments part = inside(region.begin, region.end);
      if (region.each) part = part.only_each();
      for (Run const& run : part.runs_) result.append(run);
    }
    return result;
  }
  Segments only_each() const {
    return filtered([](Run const& run) { return run.each; });
  }

  // These intervals and every single feature of [0, size) outside [begin, end), where this list lies.
  Segments with_each_outside(Index begin, Index end, Index size) const {
    Segments result = each(0, begin);
    for (Run const& run : runs_) result.append(run);
    result.append({end, size, true});
    return result;
  }

  // Appends a run that does not begin before the last one. Empty runs vanish, one-feature intervals are `each`, and
  // touching or overlapping `each` runs merge, so that equal spans have equal lists.
  void append(Run run) {
    if (run.begin >= run.end) return;
    run.each = run.each || run.end - run.begin == 1;
    if (!runs_.empty()) {
      Run& last = runs_.back();
      if (last == run) return;
      if (last.each && run.each && run.begin <= last.end) {
        last.end = std::max(last.end, run.end);
        return;
      }
    }
    runs_.push_back(run);
  }

  // Appends a list that does not begin before this one ends.
  void append(Segments const& other) {
    for (Run const& run : other.runs_) append(run);
  }

  std::vector<Interval> intervals() const {
    std::vector<Interval> result;
    for (Run const& run : runs_) {
      if (!run.each) result.push_back({run.begin, run.end});
      for (Index i = run.begin; run.each && i < run.end; ++i) result.push_back({i, i + 1});
    }
    return result;
  }

  friend Segments meet(Segments const& a, Segments const& b);

 private:
  std::vector<Run>::const_iterator first_ending_after(Index begin) const {
    return std::partition_point(runs_.begin(), runs_.end(), [&](Run const& run) { return run.end <= begin; });
  }

  template <class Predicate>
  Segments filtered(Predicate keep) const {
    Segments result;
    for (Run const& run : runs_) {
      if (keep(run)) result.append(run);
    }
    return result;
  }

  std::vector<Run> runs_;  // sorted, disjoint
};

// The intersection of the two spans. A vector in both is constant on every connected component of overlapping
// intervals, and zero on a component that either list covers only in part. Cost: linear in the two lengths.
inline Segments meet(Segments const& a, Segments const& b) {
  // One list, read from the left; an `each` run may be used up piece by piece.
  struct Cursor {
    std::vector<Segments::Run> const& runs;
    std::size_t next = 0;
    Segments::Run run{};
    bool done = true;
    void advance() {
      done = next == runs.size();
      if (!done) run = runs[next++];
    }
    void skip_to(Index position) {
      while (!done && run.end <= position) advance();
      if (!done && run.each) run.begin = std::max(run.begin, position);
    }
    // Joins what overlaps [.., end), returns how many features that covers, and moves `end` where an interval reaches
    // on.
    Index join(Index& end) {
      Index covered = 0;
      while (!done && run.begin < end) {
        Index const until = run.each ? std::min(run.end, end) : run.end;
        covered += until - run.begin;
        end = std::max(end, until);
        skip_to(until);
      }
      return covered;
    }
  };
  Segments result;
  Cursor left{a.runs_}, right{b.runs_};
  left.advance();
  right.advance();
  while (!left.done && !right.done) {
    if (left.run.each && right.run.each) {
      Index const begin = std::max(left.run.begin, right.run.begin);
      Index const end = std::min(left.run.end, right.run.end);
      result.append({begin, end, true});
      left.skip_to(std::max(begin, end));
      right.skip_to(std::max(begin, end));
      continue;
    }
    // A component starts with an interval; single features before it lie in no component of both lists.
    Cursor& first = left.run.each ? right : right.run.each || left.run.begin <= right.run.begin ? left : right;
    Cursor& second = &first == &left ? right : left;
    second.skip_to(first.run.begin);
    // The skip may end at an interval that starts earlier: then the component does, too, and `first` leaves a part out.
    Index const begin = second.done ? first.run.begin : std::min(first.run.begin, second.run.begin);
    Index end = first.run.end;
    Index covered_by_first = 0;
    Index covered_by_second = 0;
    for (Index before = -1; before != end;) {
      before = end;
      covered_by_first += first.join(end);
      covered_by_second += second.join(end);
    }
    if (covered_by_first == end - begin && covered_by_second == end - begin) result.append({begin, end, false});
  }
  return result;
}

// The intersection of all of these spans, of at least one. By halves: lists that say of a few features each what the
// others leave open (a thousand slices of one value) would make a growing list pass by a thousand times.
inline Segments meet_all(std::span<Segments const> lists) {
  if (lists.size() == 1) return lists[0];
  std::size_t const half = lists.size() / 2;
  return meet(meet_all(lists.first(half)), meet_all(lists.subspan(half)));
}

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
