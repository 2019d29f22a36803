// SPDX-License-Identifier: MIT
// foldnorm/graph/rules.hpp -- how each operator passes a tolerated shift up to its inputs, and zero mean down to its
// value.
//
//   pull  TOL(x) that one use of x contributes, from TOL(y): the right column of the operator table in docs/folding.md
//   push  Z(y) from the Z of the inputs: its middle column
//
// Most operators are one of a few kinds of flow, so a row of the table is a line of flow_of(); an operator that is not
// listed there is `unknown` and blocks. Foldable LayerNorm (arXiv:2605.14521); the rules are derived in
// docs/folding.md.
#pragma once

#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/readers.hpp>
#include <foldnorm/graph/segments.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace foldnorm::detail {

enum class Flow : std::uint8_t {
  unknown,         // forgives nothing, promises nothing: input, ids, opaque, output
  produces,        // general linear: what it makes can be centered by its parameters; what it reads must not move
  adds_parameter,  // x + p: passes everything on, and p is a producer
  rearranges,      // y = sum_i M_i x_i, M_i copies features, tokens may be mixed with weights common to all features
  elementwise,     // feature by feature, not linear with a common factor: only what nobody reads is forgiven
  scales,          // elementwise, but linear: may be composed with the linear layer above it
  centers,         // layer_norm, center, softmax: forgives a shift of each group
  rescales         // rms_norm: one factor per group, which sees a shift
};

constexpr Flow flow_of(Operator op, bool training) {
  switch (op) {
    case Operator::linear:
    case Operator::conv:
    case Operator::embedding:
      return Flow::produces;
    case Operator::add_parameter:
      return Flow::adds_parameter;
    case Operator::identity:
    case Operator::drop_path:  // one factor per token: a scalar, in training too
    case Operator::scale:
    case Operator::add:
    case Operator::subtract:
    case Operator::concat_tokens:
    case Operator::concat_features:
    case Operator::slice_features:
    case Operator::mean_tokens:
    case Operator::permute_tokens:
    case Operator::merge_tokens:
    case Operator::attention:
      return Flow::rearranges;
    case Operator::dropout:
      return training ? Flow::elementwise : Flow::rearranges;
    case Operator::relu:
    case Operator::gelu:
    case Operator::silu:
    case Operator::tanh:
    case Operator::sigmoid:
    case Operator::multiply:
    case Operator::max_tokens:
      return Flow::elementwise;
    case Operator::scale_channels:
    case Operator::batch_norm:
      return Flow::scales;
    case Operator::softmax:
    case Operator::center:
    case Operator::layer_norm:
      return Flow::centers;
    case Operator::rms_norm:
      return Flow::rescales;
    case Operator::input:
    case Operator::ids:
    case Operator::opaque:
    case Operator::output:
      return Flow::unknown;
  }
  return Flow::unknown;
}

// Features [x_begin, x_begin + length) of one input become features [y_begin, y_begin + length) of the value. Intervals
// that lie in one piece survive, and with heads (then x_begin = y_begin = 0) those that lie in one head.
struct Piece {
  Index x_begin = 0;
  Index y_begin = 0;
  Index length = 0;
  Index heads = 1;

  Segments to_x(Segments const& of_y) const {
    return in_one_head(of_y.inside(y_begin, y_begin + length, x_begin - y_begin));
  }
  Segments to_y(Segments const& of_x) const {
    return in_one_head(of_x.inside(x_begin, x_begin + length, y_begin - x_begin));
  }
  Segments in_one_head(Segments const& kept) const { return heads == 1 ? kept : kept.inside_blocks(length / heads); }
  // The features of the value in which an interval that begins at y must end.
  Interval around(Index y) const {
    Index const part = length / heads;
    Index const begin = y_begin + (y - y_begin) / part * part;
    return {begin, begin + part};
  }
};

// `count` pieces, each y_step further down the value; of several, each copies all of x, and they lie side by side. Not
// a list: a file may ask for 2^31 of them, and what is asked of all of them is asked of few.
struct Pieces {
  Piece first{};
  Index count = 1;
  Index y_step = 0;
  Piece operator[](Index k) const {
    Piece piece = first;
    piece.y_begin += k * y_step;
    return piece;
  }

  // Those that [begin, end) of the value meets; of many that lie in it whole, one.
  std::vector<Piece> meeting(Index begin, Index end) const {
    if (count <= 1 || begin >= end) return count == 1 ? std::vector{first} : std::vector<Piece>{};
    Index const near = begin / y_step, far = std::min(count, (end + y_step - 1) / y_step) - 1;
    std::vector<Piece> result{(*this)[near]};
    if (near + 1 < far) result.push_back((*this)[near + 1]);
    if (near < far) result.push_back((*this)[far]);
    return result;
  }
  // Calls visit(piece) for one after the other while it returns true; of those in a row whose features in the value are
  // all single ones of `of_y`, for the first.
  template <class Visit>
  void visit_while(Segments const& of_y, Visit visit) const {
    for (Index k = 0; k < count;) {
      Piece const piece = (*this)[k];
      if (!visit(piece)) return;
      k += count == 1 ? 1 : std::max<Index>((of_y.each_until(piece.y_begin) - piece.y_begin) / y_step, 1);
    }
  }
};

// How a rearranging node copies the features of its i-th input; no piece for inputs that it reads otherwise (queries
// and keys). A shift of a whole token is no common shift of the merged tokens, nor of several attention heads, each of
// which mixes tokens with weights of its own. `before`: the features of the inputs in front of the i-th.
inline Pieces pieces(Graph const& graph, Node const& node, std::size_t i, Index before) {
  Index const features = graph.node(node.inputs[i]).features;
  switch (node.op) {
    case Operator::concat_features:
      return {{0, before, features}};
    case Operator::slice_features:
      return {{node.count(Key::start), 0, node.count(Key::length)}};
    case Operator::merge_tokens:
      return {{0, 0, features}, node.count(Key::ratio), features};
    case Operator::attention:
      if (i != 2) return {{}, 0};
      return {{0, 0, features, node.count(Key::heads)}};
    default:
      return {{0, 0, features}};
  }
}

inline Index groups_of(Node const& node) {
  bool const grouped = node.op == Operator::layer_norm || node.op == Operator::rms_norm || node.op == Operator::conv;
  return grouped ? node.count(Key::groups) : 1;
}

// Tokens that a linear or conv reads for one token of its value.
inline Index kernel_of(Node const& node) { return node.op == Operator::conv ? node.count(Key::kernel) : 1; }

// For an operator that works on equal blocks of its input and of its value: a block whose value nobody reads is free,
// one that is read tolerates a shift of the whole block if the operator `forgives`, and nothing otherwise.
inline Segments pull_by_block(Segments const& tolerated, Index x_features, Index y_features, Index blocks,
                              bool forgives) {
  Segments result;
  if (!forgives && tolerated.only_each().empty()) return result;  // nothing is dead
  Index const x_length = x_features / blocks;
  Index const y_length = y_features / blocks;
  for (Index k = 0; k < blocks; ++k) {
    bool const is_dead = tolerated.covers_each(k * y_length, (k + 1) * y_length);
    if (is_dead || forgives) result.append({k * x_length, (k + 1) * x_length, is_dead});
  }
  return result;
}

// What this use tolerates, given what the reading node's value tolerates.
inline Segments pull(Graph const& graph, Reader const& use, Flow flow, Segments const& tolerated) {
  Node const& node = graph.node(use.node);
  Index const features = graph.node(node.inputs[use.operand]).features;
  switch (flow) {
    case Flow::produces:
    case Flow::rescales:
      return pull_by_block(tolerated, features, node.features, groups_of(node), false);
    case Flow::centers:
      return pull_by_block(tolerated, features, node.features, groups_of(node), true);
    case Flow::elementwise:
    case Flow::scales:
      return tolerated.only_each();
    case Flow::adds_parameter:
      return tolerated;
    case Flow::rearranges:
      break;
    case Flow::unknown:
      return Segments::none();
  }
  Pieces const copies = pieces(graph, node, use.operand, use.before);
  if (copies.count == 0) {  // queries and keys: a head's part is free where nobody reads that head
    return pull_by_block(tolerated, features, node.features, node.count(Key::heads), false);
  }
  Segments result = Segments::each(copies.first.x_begin, copies.first.x_begin + copies.first.length);
  copies.visit_while(tolerated, [&](Piece const& piece) {
    result = meet(result, piece.to_x(tolerated));
    return !result.empty();
  });
  return result.with_each_outside(copies.first.x_begin, copies.first.x_begin + copies.first.length, features);
}

// Z of a rearranging node's value, given the Z of every value before it. What an input does not reach, it leaves at
// zero.
inline Segments push_rearranged(Graph const& graph, Node const& node, std::vector<Segments> const& zero_mean) {
  std::vector<Segments> lists{Segments::each(0, node.features)};
  Index before = 0;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    Pieces const copies = pieces(graph, node, i, before);
    before += graph.node(node.inputs[i]).features;
    if (copies.count == 0) continue;
    Segments const& z = zero_mean[static_cast<std::size_t>(node.inputs[i].index)];
    Piece const last = copies[copies.count - 1];
    Segments reached;
    if (z.covers_each(copies.first.x_begin, copies.first.x_begin + copies.first.length)) {
      reached = Segments::each(copies.first.y_begin, last.y_begin + last.length);
    } else {
      for (Index k = 0; k < copies.count && !z.empty(); ++k) reached.append(copies[k].to_y(z));
    }
    lists.push_back(reached.with_each_outside(copies.first.y_begin, last.y_begin + last.length, node.features));
  }
  return meet_all(lists);
}

// The regions of a rearranged value that come from one of its inputs, in that input's features.
inline Segments pull_regions(Pieces const& copies, Segments const& regions) {
  std::vector<Segments::Run> parts;
  for (Segments::Run const& region : regions.runs()) {
    Segments alone;
    alone.append(region);
    for (Piece const& piece : copies.meeting(region.begin, region.end)) {
      Segments const part = piece.to_x(alone);
      parts.insert(parts.end(), part.runs().begin(), part.runs().end());
    }
  }
  return Segments::of_parts(std::move(parts));
}

}  // namespace foldnorm::detail
