// SPDX-License-Identifier: MIT
// foldnorm/graph/checks.hpp -- whether a statement's words, numbers and roles are those of its operator's row.
#pragma once

#include <foldnorm/graph/node.hpp>
#include <foldnorm/graph/operators.hpp>
#include <foldnorm/graph/shapes.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foldnorm::detail {

constexpr bool is_word(std::string_view text) {
  constexpr auto is_word_character = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '/' || c == '-';
  };
  for (char const c : text) {
    if (!is_word_character(c)) return false;
  }
  return !text.empty();
}

inline void require_word(std::string const& text, Node const& node, char const* what) {
  require(is_word(text), node, std::string(what) + " '" + text + "': expected letters, digits and _ . / -");
}

// The shortest decimals that read back as the same double.
inline std::string number_text(double number) {
  char buffer[32];
  auto const result = std::to_chars(std::begin(buffer), std::end(buffer), number);
  return {std::begin(buffer), result.ptr};
}

// As the text format has it: counts and positions in digits alone, where the shortest decimals of 100000 are 1e+05.
inline std::string key_text(KeyRow const& key, double number) {
  bool const in_digits = key.kind == KeyKind::count || key.kind == KeyKind::position;
  return in_digits ? std::to_string(static_cast<Index>(number)) : number_text(number);
}

inline void check_number(Node const& node, KeyRow const& key, double number) {
  auto const expect = [&](bool holds, char const* expected) {
    require(holds, node, std::string(key.word) + "=" + number_text(number) + ": expected " + expected);
  };
  bool const is_count = std::floor(number) == number && number <= static_cast<double>(largest_count);
  switch (key.kind) {
    case KeyKind::count:
      return expect(is_count && number >= 1, "an integer from 1 to 2^31 - 1");
    case KeyKind::position:
      return expect(is_count && number >= 0, "an integer from 0 to 2^31 - 1");
    case KeyKind::flag:
      return expect(number == 1, "1, or no such key");
    case KeyKind::probability:
      return expect(number >= 0 && number < 1, "a number in [0, 1)");
    case KeyKind::non_negative:
      return expect(std::isfinite(number) && number >= 0, "a finite number >= 0");
    default:
      return expect(std::isfinite(number), "a finite number");
  }
}

// Puts the numbers given into their slots and defaults into the others.
inline void set_numbers(Node& node, KeyValues const& keys) {
  OperatorRow const& r = row(node.op);
  for (auto const& [key, value] : keys.numbers) {
    require(r.slot(key) && row(key).kind != KeyKind::parameter, node, "has no number " + std::string(row(key).word));
    check_number(node, row(key), value);
    node.numbers[*r.slot(key)] = value;
  }
  for (std::size_t i = 0; i < r.key_count; ++i) {
    Key const key = r.keys[i].key;
    if (row(key).kind == KeyKind::parameter) continue;
    auto const given = std::ranges::count(keys.numbers, key, &std::pair<Key, double>::first);
    require(given <= 1, node, std::string(row(key).word) + "= is given twice");
    require(given == 1 || !r.keys[i].required, node, std::string(row(key).word) + "= is missing");
    if (given == 0) node.numbers[*r.slot(key)] = r.keys[i].otherwise;
  }
}

// The parameters given, as (role, name) in the order of the operator's row; an empty name counts as left out.
inline std::vector<std::pair<Key, std::string>> parameter_names(Node const& node, KeyValues const& keys) {
  OperatorRow const& r = row(node.op);
  for (auto const& [role, name] : keys.parameters) {
    require(r.slot(role) && row(role).kind == KeyKind::parameter, node,
            "has no parameter " + std::string(row(role).word));
    if (!name.empty()) require_word(name, node, "parameter name");
  }
  std::vector<std::pair<Key, std::string>> names;
  for (std::size_t i = 0; i < r.key_count; ++i) {
    Key const role = r.keys[i].key;
    if (row(role).kind != KeyKind::parameter) continue;
    std::size_t const before = names.size();
    std::ranges::copy_if(keys.parameters, std::back_inserter(names),
                         [&](auto const& given) { return given.first == role && !given.second.empty(); });
    require(names.size() <= before + 1, node, std::string(row(role).word) + "= is given twice");
    require(names.size() == before + 1 || !r.keys[i].required, node, std::string(row(role).word) + "= is missing");
  }
  return names;
}

}  // namespace foldnorm::detail
