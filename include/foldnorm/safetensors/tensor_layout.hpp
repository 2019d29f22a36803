// SPDX-License-Identifier: MIT
// foldnorm/safetensors/tensor_layout.hpp -- how a graph's parameter lies in a file of row-major tensors.
//
//   parameter                              tensor                      the bytes
//   linear weight, out x in                [out, in], PyTorch's        transposed
//   ... named as in by out                 [in, out], GPT-2's Conv1D   as they are
//   conv weight, out x (kernel * in)       [out, in, kernel]           column t * in + c is entry c, t of a row
//   table, features x vocabulary           [vocabulary, features]      as they are
//   per-token parameter, features x tokens [tokens, features]          as they are
//   gamma, beta, bias, ...                 [features]                  as they are
//
// (in: of one group.) A column-major matrix has the bytes of its row-major transpose.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/rules.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// Names of weights that a file holds as [in, out].
using InByOutNames = std::set<std::string, std::less<>>;

struct TensorLayout {
  using Shape = std::vector<std::uint64_t>;

  Shape shape;           // as a new tensor is written; [0, features] for a per-token parameter, of any number of tokens
  Index rows = 0;        // of the graph's matrix
  bool by_rows = false;  // the tensor's first axis is the rows: else its bytes are the matrix's
  Index kernel = 1;      // by rows: taps that lie next to each other

  // Does a tensor of this shape hold the parameter? Beside the shape itself: axes of length 1 in front of a table's or
  // per-token parameter's, or anywhere in a vector's; and of a weight that is by rows, its inputs cut into several axes
  // (a patch embedding's [out, channels, height, width]), which are one behind the other.
  bool fits(std::span<std::uint64_t const> tensor) const {
    if (std::ranges::equal(tensor, shape)) return true;
    auto const without_ones = [](std::span<std::uint64_t const> lengths) {
      Shape result(lengths.begin(), lengths.end());
      std::erase(result, 1U);
      return result;
    };
    if (shape.size() == 1) return without_ones(tensor) == without_ones(shape);
    if (by_rows && kernel == 1) {
      std::uint64_t inputs = 1;
      for (std::size_t i = 1; i < tensor.size(); ++i) inputs *= tensor[i];  // fits in a file, so in 64 bits
      return tensor.size() > 1 && tensor[0] == shape[0] && inputs == shape[1];
    }
    if (by_rows) return false;
    while (tensor.size() > shape.size() && tensor[0] == 1) tensor = tensor.subspan(1);
    return tensor.size() == 2 && tensor[1] == shape[1] && (shape[0] == 0 || tensor[0] == shape[0]);
  }
};

namespace detail {

inline bool is_layer_weight(ParameterDescription const& parameter) {
  return !parameter.is_table &&
         std::ranges::any_of(parameter.uses, [](ParameterUse const& use) { return use.role == Key::weight; });
}

// Taps of the layers that have this weight. Throws std::invalid_argument if they differ: then no one order is right.
inline Index common_kernel(Graph const& graph, ParameterDescription const& parameter) {
  std::optional<Index> kernel;
  for (ParameterUse const& use : parameter.uses) {
    if (use.role != Key::weight) continue;
    Index const here = kernel_of(graph.node(use.node));
    if (kernel.value_or(here) != here) {
      detail::raise<std::invalid_argument>(parameter.name + " is a weight of " + std::to_string(*kernel) +
                                           " taps and of " + std::to_string(here) + " in " +
                                           node_text(graph.node(use.node)) + ": a file can hold it for one of them");
    }
    kernel = here;
  }
  return *kernel;
}

}  // namespace detail

// Is it a weight of linears or of convolutions with one tap, and no table, whose layout is its own?
inline bool can_be_in_by_out(Graph const& graph, ParameterDescription const& parameter) {
  return detail::is_layer_weight(parameter) && detail::common_kernel(graph, parameter) == 1;
}

// Throws std::invalid_argument if the parameter is named as in by out, but cannot be; or if it is a weight of
// convolutions with other numbers of taps.
inline TensorLayout tensor_layout(Graph const& graph, ParameterDescription const& parameter,
                                  InByOutNames const& in_by_out = {}) {
  auto const rows = static_cast<std::uint64_t>(parameter.rows), columns = static_cast<std::uint64_t>(parameter.columns);
  bool const swapped = in_by_out.contains(parameter.name);
  bool const is_weight = detail::is_layer_weight(parameter);
  Index const kernel = is_weight ? detail::common_kernel(graph, parameter) : 1;
  if (swapped && !can_be_in_by_out(graph, parameter)) {
    detail::raise<std::invalid_argument>(parameter.name + " is no weight that can be stored as in by out");
  }
  if (is_weight && !swapped) {
    bool const is_conv = graph.node(parameter.uses.front().node).op == Operator::conv;
    auto const taps = static_cast<std::uint64_t>(kernel);
    if (is_conv || kernel > 1) return {{rows, columns / taps, taps}, parameter.rows, true, kernel};
    return {{rows, columns}, parameter.rows, true, 1};
  }
  bool const is_matrix = is_weight || parameter.is_table || parameter.per_token;
  if (is_matrix) return {{columns, rows}, parameter.rows, false, 1};
  return {{rows}, parameter.rows, false, 1};
}

// "256x784", "tokens x 768": what a message says was expected.
inline std::string shape_text(TensorLayout const& layout) {
  std::string text;
  for (std::size_t i = 0; i < layout.shape.size(); ++i) {
    bool const any = layout.shape[i] == 0;
    text += (i > 0 ? "x" : "") + (any ? std::string("tokens") : std::to_string(layout.shape[i]));
  }
  return text;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
