// SPDX-License-Identifier: MIT
// foldnorm/onnx/tensor_values.hpp -- a parameter's matrix from an ONNX tensor, and back into it.
//
//   use of a row-major tensor                       rows     outer  inner          kernel
//   weight of MatMul, or Gemm, [in, out]            out      in     1              1
//   weight of Gemm with transB, [out, in]           out      1      in             1
//   Conv's [out, in / groups, taps...]              out      1      in * taps      taps
//   ConvTranspose's [in, out, taps...]              out      in     taps           1
//   table, or a parameter per token, [..., features]  features  ...  1             1
//   gamma, beta, bias, ...                          all      1      1              1
//
// One axis of the tensor is the rows; `outer` counts what lies before it, `inner` what lies behind.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/onnx/external_writer.hpp>
#include <foldnorm/onnx/model_file.hpp>
#include <foldnorm/onnx/tensor_elements.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

struct OnnxLayout {
  Index rows = 0;
  Index outer = 1;
  Index inner = 1;
  Index kernel = 1;  // taps of one input, neighbours in the tensor; in the matrix, column t * inputs + c is input c's t

  Index columns() const { return outer * inner; }
  bool operator==(OnnxLayout const&) const = default;
};

namespace detail {

// Calls visit(place in the matrix, place in the tensor) for every entry, in tiles that keep both ends of a
// transposition in the cache. Both places count from 0, the matrix's down its columns.
template <class Visit>
void for_each_place(OnnxLayout const& layout, Visit visit) {
  constexpr Index tile = 32;
  Index const inputs = layout.columns() / layout.kernel;
  for (Index outer = 0; outer < layout.outer; ++outer) {
    for (Index first_row = 0; first_row < layout.rows; first_row += tile) {
      for (Index first = 0; first < layout.inner; first += tile) {
        for (Index row = first_row; row < std::min(first_row + tile, layout.rows); ++row) {
          for (Index inner = first; inner < std::min(first + tile, layout.inner); ++inner) {
            Index const fibre = outer * layout.inner + inner;
            Index const column = layout.kernel == 1 ? fibre : fibre % layout.kernel * inputs + fibre / layout.kernel;
            visit(column * layout.rows + row, (outer * layout.rows + row) * layout.inner + inner);
          }
        }
      }
    }
  }
}

// The matrix's entries lie in the tensor as they lie in the matrix.
inline bool lies_alike(OnnxLayout const& layout) { return layout.inner == 1 && layout.kernel == 1; }

}  // namespace detail

// Throws onnx_error that names file and tensor: a shape that overflows, or holds other than the layout's number of
// elements; data that are missing, of another size, or external and out of bounds; a type that is no weight's. Reads
// and allocates nothing.
inline void check_tensor(::onnx::TensorProto const& tensor, OnnxLayout const& layout, OnnxFile const& file) {
  bool const known = with_onnx_scalar(tensor.data_type(), [&]<class Scalar>(Scalar) {
    auto const count = detail::checked_count<Scalar>(tensor, file);
    auto const expected = static_cast<std::uint64_t>(layout.rows * layout.columns());
    if (count == expected) return;
    detail::fail_tensor(tensor, file, std::to_string(count) + " elements, expected " + std::to_string(expected));
  });
  if (!known) detail::fail_tensor(tensor, file, "is of a type that weights do not have");
}

// The tensor as a matrix of its own type, bit for bit. Throws as check_tensor does. Takes the memory of the matrix, and
// where it lies in another order as much again meanwhile.
inline ParameterValue read_tensor(::onnx::TensorProto const& tensor, OnnxLayout const& layout, OnnxFile const& file) {
  check_tensor(tensor, layout, file);
  ParameterValue value;
  with_onnx_scalar(tensor.data_type(), [&]<class Scalar>(Scalar) {
    Matrix<Scalar> matrix(layout.rows, layout.columns());
    auto const count = static_cast<std::uint64_t>(matrix.size());
    if (detail::lies_alike(layout)) {
      detail::read_elements(tensor, file, matrix.data(), count);
    } else {
      Vector<Scalar> elements(matrix.size());
      detail::read_elements(tensor, file, elements.data(), count);
      detail::for_each_place(layout, [&](Index to, Index from) { matrix.data()[to] = elements.data()[from]; });
    }
    value = std::move(matrix);
  });
  return value;
}

// New values in the tensor's own storage: raw, its typed field, or, of one that is outside, in `data`; without that,
// they come into the model, raw. Preconditions (ours): the type is the tensor's, the size the layout's.
inline void store_tensor(::onnx::TensorProto& tensor, OnnxLayout const& layout, ParameterValue const& value,
                         ExternalWriter* data = nullptr) {
  std::visit(
      [&]<class Scalar>(Matrix<Scalar> const& matrix) {
        Vector<Scalar> moved;
        if (!detail::lies_alike(layout)) {
          moved.resize(matrix.size());
          detail::for_each_place(layout, [&](Index from, Index to) { moved.data()[to] = matrix.data()[from]; });
        }
        std::span<Scalar const> const elements(moved.size() > 0 ? moved.data() : matrix.data(),
                                               static_cast<std::size_t>(matrix.size()));
        auto const bytes = std::as_bytes(elements);
        if (detail::is_external(tensor) && data) return data->put(tensor, bytes);
        if (detail::is_external(tensor) || tensor.has_raw_data()) {
          tensor.mutable_raw_data()->assign(reinterpret_cast<char const*>(bytes.data()), bytes.size());
          if (detail::is_external(tensor)) tensor.clear_data_location(), tensor.clear_external_data();
          return;
        }
        for (int k = 0; k < static_cast<int>(elements.size()); ++k) {
          auto const element = detail::to_field(elements[static_cast<std::size_t>(k)]);
          if constexpr (std::is_same_v<Scalar, float>) tensor.set_float_data(k, element);
          if constexpr (std::is_same_v<Scalar, double>) tensor.set_double_data(k, element);
          if constexpr (sizeof(Scalar) == 2) tensor.set_int32_data(k, element);
        }
      },
      value);
}

// A new tensor, raw, of this shape.
inline ::onnx::TensorProto make_tensor(std::string const& name, std::vector<std::int64_t> const& shape,
                                       OnnxLayout const& layout, ParameterValue const& value) {
  ::onnx::TensorProto tensor;
  tensor.set_name(name);
  for (std::int64_t const length : shape) tensor.add_dims(length);
  constexpr ::onnx::TensorProto::DataType types[] = {::onnx::TensorProto::FLOAT, ::onnx::TensorProto::DOUBLE,
                                                     ::onnx::TensorProto::FLOAT16, ::onnx::TensorProto::BFLOAT16};
  tensor.set_data_type(types[value.index()]);
  tensor.set_raw_data("");
  store_tensor(tensor, layout, value);
  return tensor;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
