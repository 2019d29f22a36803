// SPDX-License-Identifier: MIT
// foldnorm/safetensors/write_parameters.hpp -- parameters to a safetensors file: a new one, or another one with
// changes.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/files/atomic_file.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/safetensors/header.hpp>
#include <foldnorm/safetensors/stored_parameters.hpp>
#include <foldnorm/safetensors/tensor_layout.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

// A tensor to be written, and where its bytes come from: a value, or a tensor of another file.
struct OutgoingTensor {
  TensorDescription tensor;
  ParameterValue const* value = nullptr;
  TensorLayout layout;             // of the value
  std::uint64_t source_begin = 0;  // in the other file's data
};

template <class Scalar>
void write_matrix(AtomicFile& out, Matrix<Scalar> const& matrix, TensorLayout const& layout) {
  if (!layout.by_rows) {
    out.write(std::as_bytes(std::span(matrix.data(), static_cast<std::size_t>(matrix.size()))));
    return;
  }
  Rows<Scalar> rows(std::min(rows_of_chunk(matrix.cols(), sizeof(Scalar)), matrix.rows()), matrix.cols());
  for (Index begin = 0; begin < matrix.rows(); begin += rows.rows()) {
    Index const count = std::min(rows.rows(), matrix.rows() - begin);
    for (Index i = 0; i < rows.cols(); ++i) {
      rows.col(i).head(count) = matrix.col(column_of(i, rows.cols(), layout.kernel)).segment(begin, count);
    }
    out.write(std::as_bytes(std::span(rows.data(), static_cast<std::size_t>(count * rows.cols()))));
  }
}

inline void copy_bytes(AtomicFile& out, SafetensorsFile const& from, std::uint64_t begin, std::uint64_t end) {
  std::vector<std::byte> chunk(std::min<std::uint64_t>(chunk_bytes, end - begin));
  while (begin < end) {
    auto const bytes = std::span(chunk).first(std::min<std::uint64_t>(chunk.size(), end - begin));
    from.read(begin, bytes);
    out.write(bytes);
    begin += bytes.size();
  }
}

inline void write_header(AtomicFile& out, std::string const& text) {
  if (text.size() > most_header_bytes) {
    detail::raise<std::invalid_argument>("header of " + std::to_string(text.size()) + " bytes, expected at most " +
                                         std::to_string(most_header_bytes));
  }
  std::uint64_t const length = text.size();
  out.write(std::as_bytes(std::span(&length, 1)));
  out.write(text);
}

inline void write_data(AtomicFile& out, std::span<OutgoingTensor const> tensors, SafetensorsFile const* source) {
  for (OutgoingTensor const& outgoing : tensors) {
    assert(outgoing.value || source);
    if (outgoing.value) {
      std::visit([&](auto const& matrix) { write_matrix(out, matrix, outgoing.layout); }, *outgoing.value);
    } else if (source) {  // asked, for g++ 12 with AVX2, which otherwise warns of a null it takes to be possible
      std::uint64_t const bytes = outgoing.tensor.end - outgoing.tensor.begin;
      copy_bytes(out, *source, outgoing.source_begin, outgoing.source_begin + bytes);
    }
  }
}

// The tensor that holds a graph's parameter, behind `begin` bytes of others. Throws std::invalid_argument if the value
// is missing, or of another size than the graph says.
inline OutgoingTensor new_tensor(Graph const& graph, ParameterDescription const& parameter, Parameters const& values,
                                 std::uint64_t begin) {
  if (parameter.name == "__metadata__") {
    detail::raise<std::invalid_argument>("write_parameters: a tensor cannot be named __metadata__, as a parameter is");
  }
  OutgoingTensor result;
  result.tensor.name = parameter.name;
  result.value = &values.at(parameter.name);
  result.layout = tensor_layout(graph, parameter);
  std::visit(
      [&]<class Scalar>(Matrix<Scalar> const& matrix) {
        if (matrix.rows() != parameter.rows || (!parameter.per_token && matrix.cols() != parameter.columns)) {
          detail::raise<shape_error>("write_parameters: " + parameter.name + " is " +
                                     shape_text(matrix.rows(), matrix.cols()) + ", expected " +
                                     shape_text(parameter.rows, parameter.columns));
        }
        result.tensor.type = tensor_type_of<Scalar>();
        result.tensor.shape = result.layout.shape;
        if (parameter.per_token) result.tensor.shape[0] = static_cast<std::uint64_t>(matrix.cols());
        result.tensor.begin = begin;
        result.tensor.end = begin + static_cast<std::uint64_t>(matrix.size()) * sizeof(Scalar);
      },
      *result.value);
  return result;
}

inline std::vector<TensorDescription> descriptions(std::span<OutgoingTensor const> tensors) {
  std::vector<TensorDescription> result;
  for (OutgoingTensor const& outgoing : tensors) result.push_back(outgoing.tensor);
  return result;
}

// A new value for a tensor has the tensor's type and size.
inline void check_change(TensorDescription const& tensor, TensorLayout const& layout, ParameterValue const& value) {
  std::visit(
      [&]<class Scalar>(Matrix<Scalar> const& matrix) {
        constexpr TensorType type = tensor_type_of<Scalar>();
        std::uint64_t const bytes = static_cast<std::uint64_t>(matrix.size()) * sizeof(Scalar);
        if (type == tensor.type && matrix.rows() == layout.rows && bytes == tensor.end - tensor.begin) return;
        detail::raise<std::invalid_argument>("write_changed: " + tensor.name + " is " +
                                             shape_text(matrix.rows(), matrix.cols()) + " of " +
                                             std::string(to_string(type)) + ", its tensor " + shape_text(tensor.shape) +
                                             " of " + std::string(to_string(tensor.type)));
      },
      value);
}

// The tensors of the file that stay, in the header's order.
inline std::vector<OutgoingTensor> kept_tensors(StoredParameters const& source, Graph const& graph,
                                                Parameters const& changed) {
  std::vector<OutgoingTensor> tensors;
  for (TensorDescription const& tensor : source.file().header().tensors) {
    auto const before = source.graph().find_parameter(tensor.name), after = graph.find_parameter(tensor.name);
    if (before && !after) continue;
    if (!before && after) {
      detail::raise<std::invalid_argument>(source.file().name() + ": the name of the new parameter " + tensor.name +
                                           " is that of a tensor which the graph does not use");
    }
    OutgoingTensor outgoing{tensor, nullptr, {}, tensor.begin};
    if (after && changed.contains(tensor.name)) {
      outgoing.value = &changed.at(tensor.name);
      outgoing.layout = source.layout(source.graph().parameter(*before));
      check_change(tensor, outgoing.layout, *outgoing.value);
    }
    tensors.push_back(std::move(outgoing));
  }
  return tensors;
}

// Closes the gaps that tensors leave which are gone; the data keep their order, which need not be the header's. Returns
// where the data end.
inline std::uint64_t close_gaps(std::span<OutgoingTensor> tensors) {
  std::vector<TensorDescription*> by_place;
  for (OutgoingTensor& outgoing : tensors) by_place.push_back(&outgoing.tensor);
  std::ranges::sort(by_place, {}, [](TensorDescription const* t) { return std::pair(t->begin, t->end); });
  std::uint64_t end = 0;
  for (TensorDescription* const tensor : by_place) {
    std::uint64_t const bytes = tensor->end - tensor->begin;
    tensor->begin = end;
    tensor->end = end += bytes;
  }
  return end;
}

}  // namespace detail

// Writes a graph's parameters, each in its type and in PyTorch's layout (tensor_layout.hpp), in the order of the graph.
// The caller commits the file. Throws std::invalid_argument, and nothing is written, if a parameter is missing or of
// another size; std::runtime_error if writing fails.
inline void write_parameters(AtomicFile& out, Graph const& graph, Parameters const& parameters) {
  std::vector<detail::OutgoingTensor> tensors;
  for (ParameterDescription const& parameter : graph.parameters()) {
    std::uint64_t const begin = tensors.empty() ? 0 : tensors.back().tensor.end;
    tensors.push_back(detail::new_tensor(graph, parameter, parameters, begin));
  }
  detail::write_header(out, header_text(std::nullopt, detail::descriptions(tensors)));
  detail::write_data(out, tensors, nullptr);
}

// Writes the file that `source` reads, with what a rewrite has changed: `graph` and `changed` are the rewritten graph
// and values of its parameters, which need not be all of them (fold_norms).
//  - A tensor keeps its place, type, shape and bytes, but for those that `changed` holds.
//  - One that the rewrite took from the graph is left out; one that the graph never named stays.
//  - Parameters that are new come last, in the order of the graph, in PyTorch's layout.
// Metadata and the order of tensors stay; where no tensor comes or goes, so does the header, byte for byte. Memory:
// that of the header, and a chunk. The caller commits the file. Throws std::invalid_argument, and nothing is written,
// if a new parameter has no value, a value has another type or size than its tensor, or a new parameter's name is that
// of a tensor which the graph does not use; std::runtime_error if reading or writing fails.
inline void write_changed(AtomicFile& out, StoredParameters const& source, Graph const& graph,
                          Parameters const& changed) {
  SafetensorsHeader const& header = source.file().header();
  std::vector<detail::OutgoingTensor> tensors = detail::kept_tensors(source, graph, changed);
  std::size_t const kept = tensors.size();
  std::uint64_t end = detail::close_gaps(tensors);
  for (ParameterDescription const& parameter : graph.parameters()) {
    if (source.graph().find_parameter(parameter.name)) continue;
    tensors.push_back(detail::new_tensor(graph, parameter, changed, end));
    end = tensors.back().tensor.end;
  }
  bool const same_tensors = kept == header.tensors.size() && kept == tensors.size();
  detail::write_header(out, same_tensors ? header.text : header_text(header.metadata, detail::descriptions(tensors)));
  std::ranges::sort(tensors, {}, [](auto const& t) { return std::pair(t.tensor.begin, t.tensor.end); });
  detail::write_data(out, tensors, &source.file());
}

}  // namespace foldnorm::inline FOLDNORM_ABI
