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
#include <foldnorm/graph/segments.hpp>

#include <cstddef>
#include <cstdint>
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

// Features [x_begin, x_begin + length) of one input become features [y_begin, y_begin + length) of the value.
struct Piece {
  Index x_begin = 0;
  Index y_begin = 0;
  Index length = 0;
};

// How a rearranging node copies the features of its i-th input; no piece for inputs that it reads otherwise (queries
// and keys). Intervals that lie in one piece survive, others do not: a shift of a whole token is no common shift of the
// merged tokens, nor of several attention heads, each of which mixes tokens with weights of its own.
inline std::vector<Piece> pieces(Graph const& graph, Node const& node, std::size_t i) {
  Index const features = graph.node(node.inputs[i]).features;
  std::vector<Piece> result;
  switch (node.op) {
    case Operator::concat_features: {
      Index begin = 0;
      for (std::size_t k = 0; k < i; ++k) begin += graph.node(node.inputs[k]).features;
      return {{0, begin, features}};
    }
    case Operator::slice_features:
      return {{node.count(Key::start), 0, node.count(Key::length)}};
    case Operator::merge_tokens:
      for (Index k = 0; k < node.count(Key::ratio); ++k) result.push_back({0, k * features, features});
      return result;
    case Operator::attention: {
      if (i != 2) return {};
      Index const length = features / node.count(Key::heads);
      for (Index begin = 0; begin < features; begin += length) result.push_back({begin, begin, length});
      return result;
    }
    default:
      return {{0, 0, features}};
  }
}

inline Index groups_of(Node const& node) {
  bool const grouped = node.op == Operator::layer_norm || node.op == Operator::rms_norm || node.op == Operator::conv;
  return grouped ? node.count(Key::groups) : 1;
}

// For an operator that works on equal blocks of its input and of its value: a block whose value nobody reads is free,
// one that is read tolerates a shift of the whole block if the operator `forgives`, and nothing otherwise.
inline Segments pull_by_block(Segments const& tolerated, Index x_features, Index y_features, Index blocks,
                              bool forgives) {
  Segments result;
  Index const x_length = x_features / blocks;
  Index const y_length = y_features / blocks;
  for (Index k = 0; k < blocks; ++k) {
    bool const is_dead = tolerated.covers_each(k * y_length, (k + 1) * y_length);
    if (is_dead || forgives) result.append({k * x_length, (k + 1) * x_length, is_dead});
  }
  return result;
}

// What this use, node's i-th input, tolerates, given what the node's value tolerates.
inline Segments pull(Graph const& graph, Node const& node, std::size_t i, Flow flow, Segments const& tolerated) {
  Index const features = graph.node(node.inputs[i]).features;
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
  std::vector<Piece> const copies = pieces(graph, node, i);
  if (copies.empty()) {  // queries and keys: a head's part is free where nobody reads that head
    return pull_by_block(tolerated, features, node.features, node.count(Key::heads), false);
  }
  Segments result = Segments::each(0, features);
  for (Piece const& piece : copies) {
    Segments const kept = tolerated.inside(piece.y_begin, piece.y_begin + piece.length, piece.x_begin - piece.y_begin);
    result = meet(result, kept.with_each_outside(piece.x_begin, piece.x_begin + piece.length, features));
  }
  return result;
}

// Z of a rearranging node's value, given the Z of every value before it. What an input does not reach, it leaves at
// zero.
inline Segments push_rearranged(Graph const& graph, Node const& node, std::vector<Segments> const& zero_mean) {
  Segments result = Segments::each(0, node.features);
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    std::vector<Piece> const copies = pieces(graph, node, i);
    if (copies.empty()) continue;
    Segments const& z = zero_mean[static_cast<std::size_t>(node.inputs[i].index)];
    Segments reached;
    for (Piece const& piece : copies) {
      Segments const part = z.inside(piece.x_begin, piece.x_begin + piece.length, piece.y_begin - piece.x_begin);
      for (Segments::Run const& run : part.runs()) reached.append(run);
    }
    result = meet(result, reached.with_each_outside(copies.front().y_begin,
                                                    copies.back().y_begin + copies.back().length, node.features));
  }
  return result;
}

// The regions of a rearranged value that come from its i-th input, in that input's features.
inline Segments pull_regions(Graph const& graph, Node const& node, std::size_t i, Segments const& regions) {
  Segments result;
  for (Piece const& piece : pieces(graph, node, i)) {
    result.unite(regions.inside(piece.y_begin, piece.y_begin + piece.length, piece.x_begin - piece.y_begin));
  }
  return result;
}

}  // namespace foldnorm::detail
