// SPDX-License-Identifier: MIT
// foldnorm/graph/operators.hpp -- the operators of the layer graph: one row each, with inputs, keys and defaults.
//
// The table is the text format's (docs/layer_graph_format.md, section 1). Builder, parser, printer and drawing read it,
// so that a new operator is a new row here, a size in shapes.hpp, a value in evaluate.hpp and a rule in rules.hpp.
#pragma once

#include <foldnorm/core/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace foldnorm::inline FOLDNORM_ABI {

enum class Operator : std::uint8_t {
  input,
  ids,
  linear,
  conv,
  embedding,
  add_parameter,
  scale_channels,
  scale,
  add,
  subtract,
  multiply,
  identity,
  dropout,
  drop_path,
  relu,
  gelu,
  silu,
  tanh,
  sigmoid,
  softmax,
  center,
  layer_norm,
  rms_norm,
  batch_norm,
  concat_tokens,
  concat_features,
  slice_features,
  mean_tokens,
  max_tokens,
  permute_tokens,
  merge_tokens,
  attention,
  opaque,
  output
};

// What a statement may say with key=value: a number, or the name of a parameter in a role.
enum class Key : std::uint8_t {
  features,
  vocab,
  out,
  kernel,
  groups,
  heads,
  start,
  length,
  ratio,
  per_token,
  p,
  by,
  eps,  // numbers
  weight,
  bias,
  table,
  value,
  gamma,
  beta,
  scale,
  shift  // parameters
};

enum class KeyKind : std::uint8_t {
  count,         // integer, 1 to 2^31 - 1
  position,      // integer, 0 to 2^31 - 1
  flag,          // 1, or left out
  probability,   // [0, 1)
  non_negative,  // finite, >= 0
  number,        // finite
  parameter      // a parameter's name
};

struct KeyRow {
  Key key;
  std::string_view word;
  KeyKind kind;
};

inline constexpr std::array<KeyRow, 21> key_rows{{
    {Key::features, "features", KeyKind::count}, {Key::vocab, "vocab", KeyKind::count},
    {Key::out, "out", KeyKind::count},           {Key::kernel, "kernel", KeyKind::count},
    {Key::groups, "groups", KeyKind::count},     {Key::heads, "heads", KeyKind::count},
    {Key::start, "start", KeyKind::position},    {Key::length, "length", KeyKind::count},
    {Key::ratio, "ratio", KeyKind::count},       {Key::per_token, "per_token", KeyKind::flag},
    {Key::p, "p", KeyKind::probability},         {Key::by, "by", KeyKind::number},
    {Key::eps, "eps", KeyKind::non_negative},    {Key::weight, "weight", KeyKind::parameter},
    {Key::bias, "bias", KeyKind::parameter},     {Key::table, "table", KeyKind::parameter},
    {Key::value, "value", KeyKind::parameter},   {Key::gamma, "gamma", KeyKind::parameter},
    {Key::beta, "beta", KeyKind::parameter},     {Key::scale, "scale", KeyKind::parameter},
    {Key::shift, "shift", KeyKind::parameter},
}};

constexpr KeyRow const& row(Key key) { return key_rows[static_cast<std::size_t>(key)]; }

// One key of one operator. A number that may be left out has a default (a flag's is 0: not set).
struct OperatorKey {
  Key key = Key::features;
  bool required = true;
  double otherwise = 0;
};

struct OperatorRow {
  static constexpr std::size_t most_keys = 5;
  static constexpr std::size_t most_numbers = 3;
  static constexpr std::size_t most_parameters = 2;
  static constexpr std::size_t any = std::numeric_limits<std::size_t>::max();

  Operator op;
  std::string_view word;
  std::size_t fewest_inputs;
  std::size_t most_inputs;
  std::size_t key_count = 0;
  std::array<OperatorKey, most_keys> keys{};

  // The place of a key among the operator's numbers, or among its parameters; empty if it has no such key.
  constexpr std::optional<std::size_t> slot(Key key) const {
    bool const wants_parameter = row(key).kind == KeyKind::parameter;
    std::size_t place = 0;
    for (std::size_t i = 0; i < key_count; ++i) {
      if (keys[i].key == key) return place;
      if ((row(keys[i].key).kind == KeyKind::parameter) == wants_parameter) ++place;
    }
    return std::nullopt;
  }
};

namespace detail {

inline constexpr double default_eps = 1e-5;

constexpr OperatorKey needs(Key key) { return {key, true, 0}; }
constexpr OperatorKey may(Key key, double otherwise = 0) { return {key, false, otherwise}; }

template <class... Keys>
constexpr OperatorRow operator_row(Operator op, std::string_view word, std::size_t fewest, std::size_t most,
                                   Keys... keys) {
  return {op, word, fewest, most, sizeof...(keys), {keys...}};
}

}  // namespace detail

inline constexpr std::array<OperatorRow, 34> operator_rows = [] {
  using namespace detail;
  using enum Operator;
  constexpr std::size_t any = OperatorRow::any;
  return std::array<OperatorRow, 34>{
      operator_row(input, "input", 0, 0, needs(Key::features)),
      operator_row(ids, "ids", 0, 0, needs(Key::vocab)),
      operator_row(linear, "linear", 1, 1, needs(Key::out), needs(Key::weight), may(Key::bias)),
      operator_row(conv, "conv", 1, 1, needs(Key::out), may(Key::kernel, 1), may(Key::groups, 1), needs(Key::weight),
                   may(Key::bias)),
      operator_row(embedding, "embedding", 1, 1, needs(Key::features), needs(Key::table)),
      operator_row(add_parameter, "add_parameter", 1, 1, needs(Key::value), may(Key::per_token)),
      operator_row(scale_channels, "scale_channels", 1, 1, needs(Key::value)),
      operator_row(scale, "scale", 1, 1, needs(Key::by)),
      operator_row(add, "add", 2, any),
      operator_row(subtract, "subtract", 2, 2),
      operator_row(multiply, "multiply", 2, 2),
      operator_row(identity, "identity", 1, 1),
      operator_row(dropout, "dropout", 1, 1, may(Key::p, 0.5)),
      operator_row(drop_path, "drop_path", 1, 1, may(Key::p, 0.5)),
      operator_row(relu, "relu", 1, 1),
      operator_row(gelu, "gelu", 1, 1),
      operator_row(silu, "silu", 1, 1),
      operator_row(tanh, "tanh", 1, 1),
      operator_row(sigmoid, "sigmoid", 1, 1),
      operator_row(softmax, "softmax", 1, 1),
      operator_row(center, "center", 1, 1),
      operator_row(layer_norm, "layer_norm", 1, 1, may(Key::gamma), may(Key::beta), may(Key::eps, default_eps),
                   may(Key::groups, 1)),
      operator_row(rms_norm, "rms_norm", 1, 1, may(Key::gamma), may(Key::beta), may(Key::eps, default_eps),
                   may(Key::groups, 1)),
      operator_row(batch_norm, "batch_norm", 1, 1, needs(Key::scale), needs(Key::shift)),
      operator_row(concat_tokens, "concat_tokens", 2, any),
      operator_row(concat_features, "concat_features", 2, any),
      operator_row(slice_features, "slice_features", 1, 1, needs(Key::start), needs(Key::length)),
      operator_row(mean_tokens, "mean_tokens", 1, 1),
      operator_row(max_tokens, "max_tokens", 1, 1),
      operator_row(permute_tokens, "permute_tokens", 1, 1),
      operator_row(merge_tokens, "merge_tokens", 1, 1, needs(Key::ratio)),
      operator_row(attention, "attention", 3, 3, may(Key::heads, 1)),
      operator_row(opaque, "opaque", 0, any, needs(Key::features)),
      operator_row(output, "output", 1, 1),
  };
}();

constexpr OperatorRow const& row(Operator op) { return operator_rows[static_cast<std::size_t>(op)]; }
constexpr std::string_view to_string(Operator op) { return row(op).word; }

// The operator, or key, that a word of the text format names; empty if there is none.
constexpr std::optional<Operator> find_operator(std::string_view word) {
  for (OperatorRow const& candidate : operator_rows) {
    if (candidate.word == word) return candidate.op;
  }
  return std::nullopt;
}
constexpr std::optional<Key> find_key(std::string_view word) {
  for (KeyRow const& candidate : key_rows) {
    if (candidate.word == word) return candidate.key;
  }
  return std::nullopt;
}

namespace detail {

constexpr bool rows_are_in_order() {
  for (std::size_t i = 0; i < operator_rows.size(); ++i) {
    if (static_cast<std::size_t>(operator_rows[i].op) != i) return false;
  }
  for (std::size_t i = 0; i < key_rows.size(); ++i) {
    if (static_cast<std::size_t>(key_rows[i].key) != i) return false;
  }
  return true;
}
static_assert(rows_are_in_order(), "row(op) and row(key) index the tables by enumerator");

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
