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
#include <foldnorm/onnx/external_data.hpp>
#include <foldnorm/onnx/model_file.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace foldnorm::inline FOLDNORM_ABI {

static_assert(std::endian::native == std::endian::little, "ONNX tensors are read and written as they lie in memory");

struct OnnxLayout {
  Index rows = 0;
  Index outer = 1;
  Index inner = 1;
  Index kernel = 1;  // taps of one input, neighbours in the tensor; in the matrix, column t * inputs + c is input c's t

  Index columns() const { return outer * inner; }
  // Where the entry of this row and column lies in the tensor.
  Index place(Index row, Index column) const {
    Index const inputs = columns() / kernel;
    Index const fibre = kernel == 1 ? column : column % inputs * kernel + column / inputs;
    return (fibre / inner * rows + row) * inner + fibre % inner;
  }
  bool operator==(OnnxLayout const&) const = default;
};

// The elements that a tensor's shape says; empty if an axis is negative, or they are more than a file can hold.
inline std::optional<std::uint64_t> element_count(::onnx::TensorProto const& tensor) {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / sizeof(double);
  std::uint64_t count = 1;
  for (std::int64_t const length : tensor.dims()) {
    if (length < 0) return std::nullopt;
    auto const factor = static_cast<std::uint64_t>(length);
    if (factor != 0 && count > most / factor) return std::nullopt;
    count *= factor;
  }
  return count;
}

// Calls use(Scalar()) for the scalar of a tensor that weights can have. False, and no call, for every other type.
template <class Use>
bool with_onnx_scalar(std::int32_t data_type, Use use) {
  switch (data_type) {
    case ::onnx::TensorProto::FLOAT:
      return use(float()), true;
    case ::onnx::TensorProto::DOUBLE:
      return use(double()), true;
    case ::onnx::TensorProto::FLOAT16:
      return use(Eigen::half()), true;
    case ::onnx::TensorProto::BFLOAT16:
      return use(Eigen::bfloat16()), true;
    default:
      return false;
  }
}
inline bool is_weight_type(std::int32_t data_type) {
  return with_onnx_scalar(data_type, [](auto) {});
}

namespace detail {

[[noreturn]] inline void fail_tensor(::onnx::TensorProto const& tensor, OnnxFile const& file, std::string const& what) {
  detail::raise<onnx_error>(file.name() + ": tensor " + printable(tensor.name()) + ": " + what);
}

// The elements, row-major. What the file claims is held against what it has before anything is allocated.
template <class Scalar>
Vector<Scalar> tensor_elements(::onnx::TensorProto const& tensor, OnnxFile const& file) {
  auto const count = element_count(tensor);
  if (!count) fail_tensor(tensor, file, "a shape that no tensor can have");
  std::uint64_t const bytes = *count * sizeof(Scalar);
  auto const check = [&](std::uint64_t has, std::uint64_t expected, char const* what) {
    if (has == expected) return;
    fail_tensor(tensor, file, std::to_string(has) + what + ", expected " + std::to_string(expected) + " by its shape");
  };
  Vector<Scalar> result;
  auto const take = [&](std::string const& from) {
    check(from.size(), bytes, " bytes");
    result.resize(static_cast<Index>(*count));
    if (bytes > 0) std::memcpy(result.data(), from.data(), bytes);
  };
  auto const convert = [&](auto const& from, auto element) {
    check(static_cast<std::uint64_t>(from.size()), *count, " elements");
    result.resize(static_cast<Index>(*count));
    for (Index i = 0; i < result.size(); ++i) result[i] = element(from.Get(static_cast<int>(i)));
  };
  if (is_external(tensor)) {
    take(external_bytes(tensor, bytes, file));
  } else if (tensor.has_raw_data()) {
    take(tensor.raw_data());
  } else if constexpr (std::is_same_v<Scalar, float>) {
    convert(tensor.float_data(), [](float x) { return x; });
  } else if constexpr (std::is_same_v<Scalar, double>) {
    convert(tensor.double_data(), [](double x) { return x; });
  } else {
    convert(tensor.int32_data(), [](std::int32_t x) { return std::bit_cast<Scalar>(static_cast<std::uint16_t>(x)); });
  }
  return result;
}

}  // namespace detail

// The tensor as a matrix of its own type, bit for bit. Throws onnx_error that names file and tensor: a shape that
// overflows, or holds other than the layout's number of elements; data that are missing, of another size, or external
// and out of bounds; a type that is no weight's.
inline ParameterValue read_tensor(::onnx::TensorProto const& tensor, OnnxLayout const& layout, OnnxFile const& file) {
  ParameterValue value;
  bool const known = with_onnx_scalar(tensor.data_type(), [&]<class Scalar>(Scalar) {
    Vector<Scalar> const elements = detail::tensor_elements<Scalar>(tensor, file);
    if (elements.size() != layout.rows * layout.columns()) {
      detail::fail_tensor(
          tensor, file,
          std::to_string(elements.size()) + " elements, expected " + std::to_string(layout.rows * layout.columns()));
    }
    Matrix<Scalar> matrix(layout.rows, layout.columns());
    for (Index j = 0; j < matrix.cols(); ++j) {
      for (Index i = 0; i < matrix.rows(); ++i) matrix(i, j) = elements[layout.place(i, j)];
    }
    value = std::move(matrix);
  });
  if (!known) detail::fail_tensor(tensor, file, "is of a type that weights do not have");
  return value;
}

// New values in the tensor's own storage: raw, or its typed field. One that was external becomes raw, in the model.
// Preconditions (ours): the type is the tensor's, the size the layout's.
inline void store_tensor(::onnx::TensorProto& tensor, OnnxLayout const& layout, ParameterValue const& value) {
  std::visit(
      [&]<class Scalar>(Matrix<Scalar> const& matrix) {
        Vector<Scalar> elements(matrix.size());
        for (Index j = 0; j < matrix.cols(); ++j) {
          for (Index i = 0; i < matrix.rows(); ++i) elements[layout.place(i, j)] = matrix(i, j);
        }
        if (tensor.has_raw_data() || detail::is_external(tensor)) {
          auto const bytes = static_cast<std::size_t>(elements.size()) * sizeof(Scalar);
          tensor.mutable_raw_data()->assign(reinterpret_cast<char const*>(elements.data()), bytes);
          if (detail::is_external(tensor)) tensor.clear_data_location(), tensor.clear_external_data();
          return;
        }
        for (Index i = 0; i < elements.size(); ++i) {
          int const k = static_cast<int>(i);
          if constexpr (std::is_same_v<Scalar, float>) tensor.set_float_data(k, elements[i]);
          if constexpr (std::is_same_v<Scalar, double>) tensor.set_double_data(k, elements[i]);
          if constexpr (sizeof(Scalar) == 2) tensor.set_int32_data(k, std::bit_cast<std::uint16_t>(elements[i]));
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
