// SPDX-License-Identifier: MIT
// foldnorm/graph/neutral_affine.hpp -- what a norm's gamma and beta leave of the zero means in front of them.
#pragma once

#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/known_values.hpp>
#include <foldnorm/graph/rules.hpp>
#include <foldnorm/graph/segments.hpp>

#include <algorithm>

namespace foldnorm::detail {

// Of these intervals of the normalized values, those that gamma and beta leave at zero mean. Features that are zero
// one by one stay so under any gain if the shift is zero; else they still sum to zero together.
inline Segments neutral_affine(KnownValues const& values, Node const& node, Segments const& normalized) {
  ParameterId const gamma = node.parameter(Key::gamma), beta = node.parameter(Key::beta);
  auto const has_neutral_gain = [&](Segments::Run const& run) {
    return run.each || values.is_uniform(gamma, run.begin, run.end);
  };
  Segments result;
  for (Segments::Run const& run : normalized.runs()) {
    if (!has_neutral_gain(run) || !values.has_zero_sum(beta, run.begin, run.end)) continue;
    result.append({run.begin, run.end, run.each && values.is_uniform(beta, run.begin, run.end)});
  }
  // A shift may sum to zero on a group, and not on the finer intervals of one that folds.
  Index const group = node.features / groups_of(node);
  bool const is_inside_groups = result.inside_blocks(group) == result;
  if (!values.is_known(beta) || !is_inside_groups) return result;
  Segments with_groups;
  for (Index begin = 0; begin < node.features; begin += group) {
    Index const end = begin + group;
    Segments const all = normalized.inside(begin, end);
    bool const is_neutral = !result.covers(begin, end) && all.covers(begin, end) &&
                            std::ranges::all_of(all.runs(), has_neutral_gain) && values.has_zero_sum(beta, begin, end);
    with_groups.append(is_neutral ? Segments::interval(begin, end) : result.inside(begin, end));
  }
  return with_groups;
}

}  // namespace foldnorm::detail
