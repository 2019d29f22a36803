// SPDX-License-Identifier: MIT
// foldnorm/graph/shapes.hpp -- how many features each operator's value has, and how large its parameters are.
//
// Sizes follow docs/layer_graph_format.md, section 1. A value is features x tokens; the number of tokens is not part of
// the graph (evaluate.hpp checks it).
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/node.hpp>

#include <limits>
#include <span>
#include <string>

namespace foldnorm::detail {

inline constexpr Index largest_count = std::numeric_limits<std::int32_t>::max();

inline void require(bool holds, Node const& node, std::string const& what) {
  if (!holds) detail::raise<graph_error>(node_text(node) + ": " + what);
}

inline void require_divides(Index divisor, Index whole, Node const& node, char const* what, char const* of) {
  require(whole % divisor == 0, node,
          std::string(what) + "=" + std::to_string(divisor) + " does not divide " + of + " (" + std::to_string(whole) +
              ")");
}

inline void require_equal_features(std::span<Index const> inputs, Node const& node) {
  for (Index const features : inputs) {
    require(features == inputs[0], node,
            "operands of " + std::to_string(inputs[0]) + " and " + std::to_string(features) + " features");
  }
}

// The features of the node's value, from those of its inputs. Throws graph_error where they do not fit.
inline Index value_features(Node const& node, std::span<Index const> inputs) {
  switch (node.op) {
    case Operator::ids:
      return 0;
    case Operator::input:
    case Operator::embedding:
    case Operator::opaque:
      return node.count(Key::features);
    case Operator::linear:
      return node.count(Key::out);
    case Operator::conv:
      require(node.count(Key::kernel) % 2 == 1, node,
              "kernel=" + std::to_string(node.count(Key::kernel)) + " is even, expected an odd width");
      require_divides(node.count(Key::groups), inputs[0], node, "groups", "the input's features");
      require_divides(node.count(Key::groups), node.count(Key::out), node, "groups", "out");
      return node.count(Key::out);
    case Operator::add:
    case Operator::subtract:
    case Operator::multiply:
    case Operator::concat_tokens:
      require_equal_features(inputs, node);
      return inputs[0];
    case Operator::layer_norm:
    case Operator::rms_norm:
      require_divides(node.count(Key::groups), inputs[0], node, "groups", "the features");
      return inputs[0];
    case Operator::concat_features: {
      Index sum = 0;
      for (Index const features : inputs) sum += features;
      require(sum <= largest_count, node, std::to_string(sum) + " features, expected fewer than 2^31");
      return sum;
    }
    case Operator::slice_features: {
      Index const end = node.count(Key::start) + node.count(Key::length);
      require(end <= inputs[0], node,
              "features up to " + std::to_string(end) + " of an input that has " + std::to_string(inputs[0]));
      return node.count(Key::length);
    }
    case Operator::merge_tokens: {
      Index const features = node.count(Key::ratio) * inputs[0];
      require(features <= largest_count, node, std::to_string(features) + " features, expected fewer than 2^31");
      return features;
    }
    case Operator::attention:
      require(inputs[0] == inputs[1], node,
              "queries of " + std::to_string(inputs[0]) + " features and keys of " + std::to_string(inputs[1]));
      require_divides(node.count(Key::heads), inputs[0], node, "heads", "the queries' features");
      require_divides(node.count(Key::heads), inputs[2], node, "heads", "the values' features");
      return inputs[2];
    default:
      return inputs[0];  // every other operator works feature by feature, or on whole tokens
  }
}

struct ParameterShape {
  Index rows = 0;
  Index columns = 0;  // 0: one per token
  bool operator==(ParameterShape const&) const = default;
};

// The size that one use asks of a parameter. `input_size` counts the features of the node's first input, or the
// vocabulary where that is an ids node. `is_table`: the parameter is (also) an embedding's table, and a linear with
// that weight uses its transpose.
inline ParameterShape parameter_shape(Node const& node, Index input_size, Key role, bool is_table) {
  switch (role) {
    case Key::weight: {
      if (node.op == Operator::conv) {
        return {node.features, node.count(Key::kernel) * (input_size / node.count(Key::groups))};
      }
      return is_table ? ParameterShape{input_size, node.features} : ParameterShape{node.features, input_size};
    }
    case Key::table:
      return {node.features, input_size};
    case Key::value:
      return {node.features, node.op == Operator::add_parameter && node.count(Key::per_token) == 1 ? 0 : 1};
    default:
      return {node.features, 1};
  }
}

}  // namespace foldnorm::detail
