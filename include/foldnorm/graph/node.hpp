// SPDX-License-Identifier: MIT
// foldnorm/graph/node.hpp -- one statement of a layer graph, and the parameters that statements name.
#pragma once

#include <foldnorm/core/types.hpp>
#include <foldnorm/graph/operators.hpp>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// A node of one graph, and the value it computes: nodes and values are the same thing here. Only meaningful in the
// graph that handed it out (and in its copies).
struct NodeId {
  std::int32_t index = -1;
  auto operator<=>(NodeId const&) const = default;
};

struct ParameterId {
  std::int32_t index = -1;
  bool present() const { return index >= 0; }
  auto operator<=>(ParameterId const&) const = default;
};

// A graph that breaks the rules of the format: the message names the node.
struct graph_error : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// The keys of a statement, as a caller or a file gives them.
struct KeyValues {
  std::vector<std::pair<Key, double>> numbers;
  std::vector<std::pair<Key, std::string>> parameters;
};

// What a norm may leave at its default.
struct NormKeys {
  double eps = detail::default_eps;
  Index groups = 1;
};

struct Node {
  Operator op = Operator::opaque;
  std::string name;
  std::vector<NodeId> inputs;
  std::array<double, OperatorRow::most_numbers> numbers{};  // by slot of the operator's row, defaults filled in
  std::array<ParameterId, OperatorRow::most_parameters> parameters{};  // likewise; absent where left out
  Index features = 0;                                                  // of the value; 0 for ids

  // Preconditions (ours): the operator's row has the key.
  double number(Key key) const { return numbers[row(op).slot(key).value()]; }
  Index count(Key key) const { return static_cast<Index>(number(key)); }
  ParameterId parameter(Key key) const { return parameters[row(op).slot(key).value()]; }

  bool operator==(Node const&) const = default;
};

// Where a parameter is used: a node, and the role it plays there.
struct ParameterUse {
  NodeId node;
  Key role = Key::weight;
  bool operator==(ParameterUse const&) const = default;
};

// A named piece of storage. Two uses of one name are two uses of the same numbers (tied).
struct ParameterDescription {
  std::string name;
  Index rows = 0;
  Index columns = 0;  // 0 if per_token: as many as the value at hand has tokens
  bool per_token = false;
  bool is_table = false;  // some embedding looks it up: then a linear with this weight uses its transpose
  std::vector<ParameterUse> uses;
  bool operator==(ParameterDescription const&) const = default;
};

// "layer_norm ln1": how messages call a node.
inline std::string node_text(Operator op, std::string_view name) {
  std::string text(to_string(op));
  text += ' ';
  text += name;
  return text;
}
inline std::string node_text(Node const& node) { return node_text(node.op, node.name); }

}  // namespace foldnorm::inline FOLDNORM_ABI
