// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/einsum_terms.hpp -- the equation of an Einsum of two operands: "bij,jk->bik".
#pragma once

#include <foldnorm/onnx/model_index.hpp>
#include <foldnorm/onnx/shape.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace foldnorm::detail {

// The labels of an Einsum's two operands and of its value, an ellipsis as '.'.
struct EinsumTerms {
  std::string operands[2], value;
};
// Empty if it has another number of operands, or does not say its value's labels.
inline std::optional<EinsumTerms> einsum_terms(::onnx::NodeProto const& node) {
  auto const* const attribute = find_attribute(node, "equation");
  if (!attribute || node.input_size() != 2) return std::nullopt;
  std::string equation = attribute->s();
  std::erase(equation, ' ');
  for (auto at = equation.find("..."); at != std::string::npos; at = equation.find("...")) equation.replace(at, 3, ".");
  auto const comma = equation.find(','), arrow = equation.find("->");
  if (comma == std::string::npos || arrow == std::string::npos || arrow < comma) return std::nullopt;
  EinsumTerms terms{{equation.substr(0, comma), equation.substr(comma + 1, arrow - comma - 1)},
                    equation.substr(arrow + 2)};
  if (terms.operands[1].find(',') != std::string::npos) return std::nullopt;
  return terms;
}
// The axis of a label, from the end; empty if it is not there, twice there, or an ellipsis lies behind it.
inline std::optional<std::int64_t> axis_of(char label, std::string const& term) {
  auto const place = term.find(label);
  bool const is_there = label != '.' && place != std::string::npos;
  if (!is_there || term.find_first_of(std::string{label, '.'}, place + 1) != std::string::npos) return std::nullopt;
  return static_cast<std::int64_t>(place) - static_cast<std::int64_t>(term.size());
}

// The value's lengths; empty where there is an ellipsis, or an operand has not as many axes as labels.
inline std::optional<std::vector<OnnxDim>> einsum_dims(EinsumTerms const& terms, OnnxShape const& a,
                                                       OnnxShape const& b) {
  std::map<char, OnnxDim> lengths;
  OnnxShape const* const shapes[] = {&a, &b};
  for (std::size_t k = 0; k < 2; ++k) {
    std::string const& labels = terms.operands[k];
    if (!shapes[k]->dims || shapes[k]->dims->size() != labels.size()) return std::nullopt;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      OnnxDim const length = (*shapes[k]->dims)[i];
      auto const [place, is_new] = lengths.try_emplace(labels[i], length);
      if (!is_new && length.is_known() && !length.is(1)) place->second = length;
    }
  }
  std::vector<OnnxDim> result;
  for (char const label : terms.value) {
    auto const found = lengths.find(label);
    if (found == lengths.end() || label == '.') return std::nullopt;
    result.push_back(found->second);
  }
  return result;
}

}  // namespace foldnorm::detail
