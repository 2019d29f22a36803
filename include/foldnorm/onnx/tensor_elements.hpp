// SPDX-License-Identifier: MIT
// foldnorm/onnx/tensor_elements.hpp -- the elements of an ONNX tensor, wherever it holds them: raw, one by one in a
// field of their type, or outside.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/onnx/external_data.hpp>
#include <foldnorm/onnx/model_file.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>

namespace foldnorm::inline FOLDNORM_ABI {

static_assert(std::endian::native == std::endian::little, "ONNX tensors are read and written as they lie in memory");

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

// The field that holds elements one by one, where they are neither raw nor outside.
template <class Scalar>
auto const& typed_field(::onnx::TensorProto const& tensor) {
  if constexpr (std::is_same_v<Scalar, float>) {
    return tensor.float_data();
  } else if constexpr (std::is_same_v<Scalar, double>) {
    return tensor.double_data();
  } else {
    return tensor.int32_data();
  }
}
template <class Scalar, class Field>
Scalar from_field(Field value) {
  if constexpr (sizeof(Scalar) == 2) {
    return std::bit_cast<Scalar>(static_cast<std::uint16_t>(value));
  } else {
    return value;
  }
}
template <class Scalar>
auto to_field(Scalar value) {
  if constexpr (sizeof(Scalar) == 2) {
    return static_cast<std::int32_t>(std::bit_cast<std::uint16_t>(value));
  } else {
    return value;
  }
}

// What the file claims is held against what it has: the number of elements.
template <class Scalar>
std::uint64_t checked_count(::onnx::TensorProto const& tensor, OnnxFile const& file) {
  auto const count = element_count(tensor);
  if (!count) fail_tensor(tensor, file, "a shape that no tensor can have");
  auto const check = [&](std::uint64_t has, std::uint64_t expected, char const* what) {
    if (has == expected) return;
    fail_tensor(tensor, file, std::to_string(has) + what + ", expected " + std::to_string(expected) + " by its shape");
  };
  if (is_external(tensor)) {
    ExternalData(tensor, file).find(*count * sizeof(Scalar));
  } else if (tensor.has_raw_data()) {
    check(tensor.raw_data().size(), *count * sizeof(Scalar), " bytes");
  } else {
    check(static_cast<std::uint64_t>(typed_field<Scalar>(tensor).size()), *count, " elements");
  }
  return *count;
}

// The elements, row-major, to memory for as many as checked_count says.
template <class Scalar>
void read_elements(::onnx::TensorProto const& tensor, OnnxFile const& file, Scalar* to, std::uint64_t count) {
  if (is_external(tensor)) {
    ExternalData const data(tensor, file);
    data.read(data.find(count * sizeof(Scalar)), reinterpret_cast<char*>(to));
  } else if (tensor.has_raw_data()) {
    if (count > 0) std::memcpy(to, tensor.raw_data().data(), count * sizeof(Scalar));
  } else {
    for (auto const value : typed_field<Scalar>(tensor)) *to++ = from_field<Scalar>(value);
  }
}

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
