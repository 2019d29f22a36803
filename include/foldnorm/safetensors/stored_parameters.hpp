// SPDX-License-Identifier: MIT
// foldnorm/safetensors/stored_parameters.hpp -- a graph's parameters in a safetensors file: the tensors of their names.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/safetensors/safetensors_file.hpp>
#include <foldnorm/safetensors/tensor_layout.hpp>
#include <foldnorm/safetensors/tensor_type.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

inline constexpr std::size_t chunk_bytes = std::size_t{1} << 20;

// Rows that are read or written at once, where a tensor is transposed on its way.
inline Index rows_of_chunk(Index columns, std::size_t scalar_bytes) {
  auto const row_bytes = static_cast<Index>(scalar_bytes) * std::max<Index>(columns, 1);
  return std::max<Index>(static_cast<Index>(chunk_bytes) / row_bytes, 1);
}

// The matrix's column that entry i of a tensor's row belongs to: taps are neighbours there, and inputs here.
inline Index column_of(Index i, Index columns, Index kernel) { return i % kernel * (columns / kernel) + i / kernel; }

template <class Scalar>
using Rows = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class Scalar>
Matrix<Scalar> read_matrix(SafetensorsFile const& file, TensorDescription const& tensor, TensorLayout const& layout) {
  Index const size = static_cast<Index>((tensor.end - tensor.begin) / sizeof(Scalar));
  Matrix<Scalar> matrix(layout.rows, size / layout.rows);
  if (!layout.by_rows) {
    file.read(tensor.begin, std::as_writable_bytes(std::span(matrix.data(), static_cast<std::size_t>(size))));
    return matrix;
  }
  Rows<Scalar> rows(std::min(rows_of_chunk(matrix.cols(), sizeof(Scalar)), matrix.rows()), matrix.cols());
  std::uint64_t place = tensor.begin;
  for (Index begin = 0; begin < matrix.rows(); begin += rows.rows()) {
    Index const count = std::min(rows.rows(), matrix.rows() - begin);
    auto const bytes = std::as_writable_bytes(std::span(rows.data(), static_cast<std::size_t>(count * rows.cols())));
    file.read(place, bytes);
    place += bytes.size();
    for (Index i = 0; i < rows.cols(); ++i) {
      matrix.col(column_of(i, rows.cols(), layout.kernel)).segment(begin, count) = rows.col(i).head(count);
    }
  }
  return matrix;
}

}  // namespace detail

// Finds the tensor of every parameter of a graph, and reads those that are asked for. A parameter is the tensor of its
// name, of type F64, F32, F16 or BF16, and of a shape that its layout fits (tensor_layout.hpp). Tensors that the graph
// does not name may be anything.
class StoredParameters {
 public:
  // Neither file nor graph is owned. Throws safetensors_error that names the file and the parameter if a tensor is
  // missing, or is of another type or shape; std::invalid_argument as tensor_layout does, and for a name in in_by_out
  // that is no parameter's.
  StoredParameters(SafetensorsFile const& file, Graph const& graph, InByOutNames in_by_out = {})
      : file_(file), graph_(graph), in_by_out_(std::move(in_by_out)) {
    for (std::string const& name : in_by_out_) {
      if (!graph.find_parameter(name)) {
        detail::raise<std::invalid_argument>(name + " is no weight that can be stored as in by out");
      }
    }
    for (ParameterDescription const& parameter : graph.parameters()) {
      TensorLayout const layout = this->layout(parameter);
      std::string const expected = ", expected " + shape_text(layout);
      TensorDescription const* const tensor = file.header().find(parameter.name);
      if (!tensor) fail(parameter, "is not in the file" + expected);
      bool const is_weight_type = with_scalar_of(tensor->type, [](auto) {});
      if (!is_weight_type || !layout.fits(tensor->shape)) {
        fail(parameter, "is " + shape_text(tensor->shape) + " of " + std::string(to_string(tensor->type)) + expected +
                            (is_weight_type ? "" : " of F64, F32, F16 or BF16"));
      }
    }
  }

  SafetensorsFile const& file() const { return file_; }
  Graph const& graph() const { return graph_; }
  TensorLayout layout(ParameterDescription const& parameter) const {
    return tensor_layout(graph_, parameter, in_by_out_);
  }

  // All of them, or those of the graph's that are named; each in its own type, bit for bit.
  Parameters read() const {
    Parameters parameters;
    for (ParameterDescription const& parameter : graph_.parameters()) read_into(parameters, parameter);
    return parameters;
  }
  Parameters read(std::set<std::string, std::less<>> const& names) const {
    Parameters parameters;
    for (ParameterDescription const& parameter : graph_.parameters()) {
      if (names.contains(parameter.name)) read_into(parameters, parameter);
    }
    return parameters;
  }

 private:
  [[noreturn]] void fail(ParameterDescription const& parameter, std::string const& what) const {
    detail::raise<safetensors_error>(file_.name() + ": parameter " + parameter.name + " " + what);
  }

  void read_into(Parameters& parameters, ParameterDescription const& parameter) const {
    TensorDescription const& tensor = *file_.header().find(parameter.name);
    with_scalar_of(tensor.type, [&]<class Scalar>(Scalar) {
      parameters.set(parameter.name, ParameterValue(detail::read_matrix<Scalar>(file_, tensor, layout(parameter))));
    });
  }

  SafetensorsFile const& file_;
  Graph const& graph_;
  InByOutNames in_by_out_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
