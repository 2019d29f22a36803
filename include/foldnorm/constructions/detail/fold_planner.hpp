// SPDX-License-Identifier: MIT
// foldnorm/constructions/detail/fold_planner.hpp -- which fold comes next: the one of either end that leaves the widest
// gaps; or, if none is good, what stretches or compresses that end first.
//
//   f(x) = (t + s) / 2 + lambda (s - t) / 2,   t = x - c,  s = sqrt(t^2 + w^2)
//
// folds the left end. It must put runs 1 and 3 beyond run 2 and before run 4; corner c, width w and lambda come from a
// short list of places where one of these distances vanishes or balances. Derived for this library.
#pragma once

#include <foldnorm/constructions/detail/runs.hpp>
#include <foldnorm/constructions/detail/soft_fold.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>

namespace foldnorm::detail {

struct PlannerOptions {
  double width_floor;  // smallest w, relative to the range of the points: far points lose u (x-c)^2 / w
  double least_score;  // of a fold; below it the end is prepared first
};

enum class StepKind { fold, stretch, compress };

struct PlannedStep {
  StepKind kind;
  End end;
  SoftFold map;
};

// The first four runs, seen from the left; those of the right end are mirrored.
struct OuterRuns {
  double low1, high1, low2, high2, low3, high3, low4;
  double gap12() const { return low2 - high1; }
  double gap23() const { return low3 - high2; }
  double gap34() const { return low4 - high3; }
};

inline OuterRuns outer_runs(Runs const& runs, End end) {
  Run const &one = runs.from(end, 0), &two = runs.from(end, 1), &three = runs.from(end, 2), &four = runs.from(end, 3);
  if (end == End::left) return {one.low, one.high, two.low, two.high, three.low, three.high, four.low};
  return {-one.high, -one.low, -two.high, -two.low, -three.high, -three.low, -four.high};
}

struct LeftFold {
  double lambda = 0, c = 0, w = 0;
  double score = 0;  // of none
};

// All folds with one corner and width, over lambda.
class FoldsAtCorner {
 public:
  FoldsAtCorner(OuterRuns const& ends, double c, double w, double floor)
      : ends_(ends), c_(c), w_(w), width_bonus_(1 + .02 * std::log10(w / floor + 1)) {
    low1_ = at(ends.low1), high1_ = at(ends.high1), low2_ = at(ends.low2), high2_ = at(ends.high2);
    low3_ = at(ends.low3), high3_ = at(ends.high3), low4_ = at(ends.low4);
  }

  void improve(LeftFold& best) const {
    for (double const lambda :
         {equal(high1_, low3_), equal(low1_, high3_), equal(low1_, at((ends_.high3 + ends_.low4) / 2)),
          equal(high1_, at((ends_.high2 + ends_.low3) / 2)), 1.0, 16.0}) {
      if (!(lambda > 1e-6 && lambda <= 32)) continue;
      double const value = score(lambda, best.score);
      if (value > best.score) best = {lambda, c_, w_, value};
    }
  }

 private:
  // f(x) = right + lambda left
  struct Sides {
    double right, left;
    double at(double lambda) const { return right + lambda * left; }
  };
  // right * left = w^2 / 4: the smaller one without cancellation.
  Sides at(double x) const {
    double const t = x - c_, large = (std::sqrt(t * t + w_ * w_) + std::abs(t)) / 2, small = w_ * w_ / (4 * large);
    return t >= 0 ? Sides{large, small} : Sides{small, large};
  }
  // lambda that puts two points on one.
  static double equal(Sides const& p, Sides const& q) { return (p.right - q.right) / (q.left - p.left); }

  // In (0, 1.2): the narrower of the new gaps relative to the old ones, less for a fold far from the plain absolute
  // value, for one that spreads run 2, and for a narrow corner. 0 if the order would be wrong, or the score not above
  // `least`.
  double score(double lambda, double least) const {
    double const root = std::sqrt(lambda), lowest = c_ + w_ * (lambda - 1) / (2 * root);
    if (!(ends_.high1 < lowest && lowest < ends_.low3)) return 0;
    double const two2 = low2_.at(lambda), two = high2_.at(lambda), top = std::max(two2, two);
    double const bottom = ends_.low2 < lowest && lowest < ends_.high2 ? w_ * root : std::min(two2, two);
    double const merged_low = std::min(high1_.at(lambda), low3_.at(lambda));
    double const merged_high = std::max(low1_.at(lambda), high3_.at(lambda));
    double const gaps =
        std::min({1.0, (merged_low - top) / ends_.gap23(), (low4_.at(lambda) - merged_high) / ends_.gap34()});
    if (!(gaps * width_bonus_ > least)) return 0;
    return gaps * width_bonus_ *
           (1 - .02 * std::min(1.0, std::abs(std::log(lambda)) / 5) -
            .1 * std::min(1.0, (top - bottom) / (merged_low - bottom)));
  }

  OuterRuns const& ends_;
  double c_, w_, width_bonus_;
  Sides low1_, high1_, low2_, high2_, low3_, high3_, low4_;
};

inline LeftFold best_left_fold(OuterRuns const& ends, double range, double floor) {
  double const gap12 = ends.gap12(), gap23 = ends.gap23(), near = std::min(gap12, gap23);
  double const half = (ends.high2 - ends.low2) / 2;
  std::array<double, 11> corners{ends.low2 - .3 * gap12, ends.low2, ends.high2 + .2 * gap23, ends.high2 + .4 * gap23,
                                 ends.high2 + .6 * gap23};
  std::size_t count = 5;
  if (half > 0)
    for (int k = 1; k <= 6; ++k) corners[count++] = ends.low2 + k / 6.0 * (ends.high2 - ends.low2);
  LeftFold best;
  double last = 0;
  for (double const proposed : {floor, .1 * near, .3 * near, near, .5 * half, half, 2 * half, .3 * gap23}) {
    double const w = std::max(proposed, floor);
    if (w > range || w == last) continue;
    last = w;
    for (std::size_t k = 0; k < count; ++k) FoldsAtCorner(ends, corners[k], w, floor).improve(best);
  }
  return best;
}

// A monotone map of the left end that makes a good fold likelier: a first run that is long compared to the gap behind
// it is compressed, a narrow gap behind it stretched.
inline std::optional<PlannedStep> prepare_left(OuterRuns const& ends, double range, double floor) {
  double const length = ends.high1 - ends.low1, gap12 = ends.gap12(), gap23 = ends.gap23();
  if (length > .3 * gap12) {
    double const w = std::max(floor, .3 * std::min(gap12, length));
    return PlannedStep{StepKind::compress, End::left, left_scale(1.0 / 32, ends.high1, w)};
  }
  if (gap12 < gap23) {
    double const w = std::max(100 * floor, std::min(gap23, 1e-3 * range));
    double const lambda = std::clamp(gap23 / gap12, 2.0, 32.0);
    return PlannedStep{StepKind::stretch, End::left, left_scale(lambda, (ends.low2 + ends.high2) / 2, w)};
  }
  return std::nullopt;
}

// The same step of the right end, whose runs were mirrored.
inline PlannedStep at_end(End end, PlannedStep const& step) {
  return end == End::left ? step : PlannedStep{step.kind, end, mirrored(step.map)};
}

// Precondition: four runs or more. Nothing if every fold would put points in the wrong order, and no preparation
// applies.
inline std::optional<PlannedStep> plan_step(Runs const& runs, PlannerOptions const& options) {
  double const range = runs.range(), floor = options.width_floor * range;
  std::array<OuterRuns, 2> const ends{outer_runs(runs, End::left), outer_runs(runs, End::right)};
  std::array<LeftFold, 2> const folds{best_left_fold(ends[0], range, floor), best_left_fold(ends[1], range, floor)};
  std::size_t const better = folds[1].score > folds[0].score;
  LeftFold const& fold = folds[better];
  auto const side = [](std::size_t i) { return i == 0 ? End::left : End::right; };
  if (fold.score < options.least_score) {
    std::optional<PlannedStep> const left = prepare_left(ends[0], range, floor);
    std::optional<PlannedStep> const right = prepare_left(ends[1], range, floor);
    bool const left_is_shorter = ends[0].high2 - ends[0].low1 <= ends[1].high2 - ends[1].low1;
    if (left && (!right || left_is_shorter)) return left;
    if (right) return at_end(End::right, *right);
  }
  if (!(fold.score > 0)) return std::nullopt;
  return at_end(side(better), {StepKind::fold, End::left, left_fold(fold.lambda, fold.c, fold.w)});
}

// Three runs or fewer: the last norm spreads them over the half circle.
inline SoftFold last_map(Runs const& runs) {
  std::size_t const last = runs.size() - 1;
  double const low = runs[0].high, high = runs[last].low;
  if (last == 0) return {1, 0, (runs[0].low + runs[0].high) / 2, runs.range() > 0 ? runs.range() / 2 : 1};
  return {1, 0, (low + high) / 2, std::max(high - low, runs.smallest_gap())};
}

}  // namespace foldnorm::detail
