// SPDX-License-Identifier: MIT
// foldnorm/graph/text.hpp -- a layer graph as text, one statement a line (docs/layer_graph_format.md, section 1).
//
//   layer_norm ln1 fc1 gamma=g1 beta=b1
//
// What is written and read again is an equal graph.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/graph.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <istream>
#include <iterator>
#include <limits>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// A malformed graph file: "NAME:LINE: what is wrong".
struct parse_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace detail {

// On which side a number leaves the range of doubles; by its exponent's sign where it leaves long double's, too.
inline bool is_small(std::string_view digits) {
  long double number = 0;
  auto const result = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (result.ec == std::errc{}) return std::abs(number) < 1;
  return digits.find("e-") != std::string_view::npos || digits.find("E-") != std::string_view::npos;
}

inline double parse_number(KeyRow const& key, std::string_view text) {
  auto const malformed = [&](char const* expected) {
    detail::raise<graph_error>(std::string(key.word) + "=" + std::string(text) + ": expected " + expected);
  };
  bool const is_integer = key.kind == KeyKind::count || key.kind == KeyKind::position || key.kind == KeyKind::flag;
  // from_chars would take "inf" and "nan" as well: a number here is written with digits.
  if (text.find_first_not_of(is_integer ? "0123456789" : "0123456789+-.eE") != std::string_view::npos) {
    malformed(is_integer ? "an integer" : "a finite decimal number");
  }
  std::string_view const digits = text.starts_with('+') ? text.substr(1) : text;  // from_chars takes no plus
  double number = 0;
  auto const result = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  bool const two_signs = text.starts_with("+-");
  bool const is_whole = result.ptr == digits.data() + digits.size() && !two_signs;
  // Beyond the range on the small side is a decimal number like any other, and rounds to zero, or to the first below.
  bool const is_tiny = result.ec == std::errc::result_out_of_range && is_small(digits);
  if (!is_whole || (result.ec != std::errc{} && !is_tiny)) malformed("a finite decimal number");
  if (!is_tiny) return number;
  // Not -0, which would be taken where a number >= 0 is asked for.
  return digits.starts_with('-') ? -std::numeric_limits<double>::denorm_min() : 0;
}

inline std::vector<std::string_view> split_words(std::string_view line) {
  constexpr std::string_view blanks = " \t";
  std::vector<std::string_view> words;
  std::size_t begin = line.find_first_not_of(blanks);
  while (begin != std::string_view::npos) {
    std::size_t const end = std::min(line.find_first_of(blanks, begin), line.size());
    words.push_back(line.substr(begin, end - begin));
    begin = line.find_first_not_of(blanks, end);
  }
  return words;
}

// Adds the statement that these words make. Throws graph_error, and then the graph is unchanged.
inline void append_statement(Graph& graph, std::vector<std::string_view> const& words) {
  auto const op = find_operator(words[0]);
  if (!op) detail::raise<graph_error>("unknown operator '" + std::string(words[0]) + "'");
  if (words.size() < 2 || words[1].find('=') != std::string_view::npos) {
    detail::raise<graph_error>(std::string(words[0]) + ": the node's name is missing");
  }
  std::vector<NodeId> inputs;
  KeyValues keys;
  bool seen_key = false;
  for (std::string_view const word : std::span(words).subspan(2)) {
    std::size_t const equals = word.find('=');
    if (equals == std::string_view::npos) {
      if (seen_key) detail::raise<graph_error>("input '" + std::string(word) + "' after a key: inputs come first");
      auto const input = graph.find_node(word);
      if (!input) detail::raise<graph_error>("no node '" + std::string(word) + "' above this line");
      inputs.push_back(*input);
      continue;
    }
    seen_key = true;
    std::string_view const value = word.substr(equals + 1);
    auto const key = find_key(word.substr(0, equals));
    if (!key) detail::raise<graph_error>("unknown key '" + std::string(word.substr(0, equals)) + "'");
    if (value.empty()) detail::raise<graph_error>(std::string(word) + " has no value");
    if (row(*key).kind == KeyKind::parameter) {
      keys.parameters.emplace_back(*key, value);
    } else {
      keys.numbers.emplace_back(*key, parse_number(row(*key), value));
    }
  }
  graph.append(*op, std::string(words[1]), std::move(inputs), keys);
}

}  // namespace detail

// Reads a whole graph; `source` names it in messages. Throws parse_error at the first line that is malformed, or after
// the last one if the graph has no output or the stream fails.
inline Graph read_graph(std::istream& in, std::string const& source) {
  Graph graph;
  std::string line;
  std::size_t line_number = 0;
  bool has_output = false;
  auto const fail = [&](std::string const& what) {
    detail::raise<parse_error>(source + ":" + std::to_string(std::max<std::size_t>(line_number, 1)) + ": " + what);
  };
  while (std::getline(in, line)) {
    ++line_number;
    std::string_view statement = line;
    if (statement.ends_with('\r')) statement.remove_suffix(1);
    auto const words = detail::split_words(statement.substr(0, statement.find('#')));
    if (words.empty()) continue;
    detail::translate_errors<graph_error>([&] { detail::append_statement(graph, words); },
                                          [&](graph_error const& error) { fail(error.what()); });
    has_output = has_output || graph.nodes().back().op == Operator::output;
  }
  if (in.bad()) fail("cannot be read any further");
  if (!has_output) fail("the graph has no output");
  return graph;
}

// Writes every statement in order; keys at their defaults are left out.
inline void write_graph(std::ostream& out, Graph const& graph) {
  for (Node const& node : graph.nodes()) {
    OperatorRow const& r = row(node.op);
    out << r.word << ' ' << node.name;
    for (NodeId const input : node.inputs) out << ' ' << graph.node(input).name;
    for (std::size_t i = 0; i < r.key_count; ++i) {
      auto const& [key, required, otherwise] = r.keys[i];
      if (row(key).kind == KeyKind::parameter) {
        if (node.parameter(key).present()) {
          out << ' ' << row(key).word << '=' << graph.parameter(node.parameter(key)).name;
        }
      } else if (required || node.number(key) != otherwise) {
        out << ' ' << row(key).word << '=' << detail::key_text(row(key), node.number(key));
      }
    }
    out << '\n';
  }
}

inline std::ostream& operator<<(std::ostream& out, Graph const& graph) {
  write_graph(out, graph);
  return out;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
