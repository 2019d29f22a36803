// SPDX-License-Identifier: MIT
// foldnorm/constructions/detail/runs.hpp -- points of the line, grouped into maximal runs of one bit.
//
// A fold of an end turns [1][2][3][4]... into [2][1 and 3][4]...: two runs move and one is gone. The order of points
// within a run does not matter, so a step costs the length of the runs that moved and one pass for their new ends; it
// sorts only when rounding has broken the order that was planned.
#pragma once

#include <foldnorm/constructions/detail/soft_fold.hpp>
#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace foldnorm::detail {

using Bits = std::vector<char>;  // 0 or 1, one for each sample

struct Run {
  double low, high;           // its outermost points, moved outwards by slack
  std::ptrdiff_t begin, end;  // of its samples
  double slack;               // how far rounding may have carried a point, to first order
};

enum class End { left, right };

class Runs {
 public:
  // Sorts the points x. False, with runs that cannot be used, if samples of different bits share a point, or for NaN.
  bool form(Vector<double> const& x, Bits const& bits) {
    members_.resize(bits.size());
    std::iota(members_.begin(), members_.end(), Index{0});
    if (x.hasNaN()) return false;
    std::sort(members_.begin(), members_.end(), [&](Index i, Index j) { return x(i) < x(j); });
    runs_.clear();
    first_ = 0;
    for (std::size_t k = 0; k < members_.size(); ++k) {
      Index const i = members_[k];
      auto const place = static_cast<std::ptrdiff_t>(k);
      if (k > 0 && bit(bits, i) == bit(bits, members_[k - 1])) {
        runs_.back().high = x(i);
        runs_.back().end = place + 1;
      } else {
        if (k > 0 && x(i) == runs_.back().high) return false;
        runs_.push_back({x(i), x(i), place, place + 1, 0});
      }
    }
    return true;
  }

  // The runs, from left to right.
  std::size_t size() const { return runs_.size() - first_; }
  Run const& operator[](std::size_t i) const { return runs_[first_ + i]; }
  Run const& from(End end, std::size_t i) const { return end == End::left ? (*this)[i] : (*this)[size() - 1 - i]; }
  char bit_of(std::size_t i, Bits const& bits) const { return bit(bits, member((*this)[i].begin)); }

  double range() const { return runs_.back().high - runs_[first_].low; }
  double smallest_gap() const {
    double gap = std::numeric_limits<double>::infinity();
    for (std::size_t i = 1; i < size(); ++i) gap = std::min(gap, (*this)[i].low - (*this)[i - 1].high);
    return gap;
  }

  // Before merge() and update(), with the map that was applied and the unit roundoff of what applied it. A map that
  // spreads a run spreads its rounding too, even where all its computed points are one: without this, plans are good
  // for these very bits, and a sample that is run in another batch can be lost.
  void carry_slack(SoftFold const& map, double unit) {
    double const rounding = unit * range();
    for (std::size_t r = first_; r < runs_.size(); ++r) {
      Run& run = runs_[r];
      run.slack = (run.slack + rounding) * std::max(std::abs(map.slope(run.low)), std::abs(map.slope(run.high)));
    }
  }

  // Before update(), after a fold of that end: [1][2][3] is now [2][1 and 3], counted from the end.
  void merge(End end) {
    auto const at = [&](std::ptrdiff_t place) { return members_.begin() + place; };
    if (end == End::left) {
      Run& one = runs_[first_];
      Run& two = runs_[first_ + 1];
      Run& three = runs_[first_ + 2];
      std::rotate(at(one.begin), at(two.begin), at(two.end));
      std::ptrdiff_t const boundary = one.begin + (two.end - two.begin);
      two.begin = one.begin;
      two.end = three.begin = boundary;
      three.slack = std::max(one.slack, three.slack);
      ++first_;
    } else {
      Run& three = runs_[runs_.size() - 3];
      Run& two = runs_[runs_.size() - 2];
      Run const& one = runs_.back();
      std::rotate(at(two.begin), at(one.begin), at(one.end));
      std::ptrdiff_t const boundary = two.begin + (one.end - one.begin);
      two.end = one.end;
      two.begin = three.end = boundary;
      three.slack = std::max(one.slack, three.slack);
      runs_.pop_back();
    }
  }

  // Reads the ends of all runs from the points x; sorts anew, without slack, if they are not in order. False as form().
  bool update(Vector<double> const& x, Bits const& bits) {
    if (x.hasNaN()) return false;
    double last = -std::numeric_limits<double>::infinity();
    for (std::size_t r = first_; r < runs_.size(); ++r) {
      Run& run = runs_[r];
      double low = x(member(run.begin)), high = low;
      for (std::ptrdiff_t k = run.begin + 1; k < run.end; ++k) {
        double const point = x(member(k));
        low = std::min(low, point);
        high = std::max(high, point);
      }
      run.low = low - run.slack;
      run.high = high + run.slack;
      if (!(last < run.low)) return form(x, bits);
      last = run.high;
    }
    return true;
  }

 private:
  static char bit(Bits const& bits, Index i) { return bits[static_cast<std::size_t>(i)]; }
  Index member(std::ptrdiff_t place) const { return members_[static_cast<std::size_t>(place)]; }

  std::vector<Index> members_;  // samples, run after run
  std::vector<Run> runs_;       // those before first_ are gone
  std::size_t first_ = 0;
};

}  // namespace foldnorm::detail
