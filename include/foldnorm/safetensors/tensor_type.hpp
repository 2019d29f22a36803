// SPDX-License-Identifier: MIT
// foldnorm/safetensors/tensor_type.hpp -- the element types of the safetensors format, and those that weights can have.
#pragma once

#include <foldnorm/core/types.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

namespace foldnorm::inline FOLDNORM_ABI {

enum class TensorType : std::uint8_t {
  boolean,
  u8,
  i8,
  i16,
  u16,
  i32,
  u32,
  i64,
  u64,
  f4,
  f6_e2m3,
  f6_e3m2,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e5m2fnuz,
  f8_e4m3fnuz,
  f16,
  bf16,
  f32,
  f64,
  c64
};

struct TensorTypeRow {
  TensorType type;
  std::string_view word;
  unsigned bits;
};

inline constexpr std::array<TensorTypeRow, 22> tensor_type_rows{{
    {TensorType::boolean, "BOOL", 8},
    {TensorType::u8, "U8", 8},
    {TensorType::i8, "I8", 8},
    {TensorType::i16, "I16", 16},
    {TensorType::u16, "U16", 16},
    {TensorType::i32, "I32", 32},
    {TensorType::u32, "U32", 32},
    {TensorType::i64, "I64", 64},
    {TensorType::u64, "U64", 64},
    {TensorType::f4, "F4", 4},
    {TensorType::f6_e2m3, "F6_E2M3", 6},
    {TensorType::f6_e3m2, "F6_E3M2", 6},
    {TensorType::f8_e5m2, "F8_E5M2", 8},
    {TensorType::f8_e4m3, "F8_E4M3", 8},
    {TensorType::f8_e8m0, "F8_E8M0", 8},
    {TensorType::f8_e5m2fnuz, "F8_E5M2FNUZ", 8},
    {TensorType::f8_e4m3fnuz, "F8_E4M3FNUZ", 8},
    {TensorType::f16, "F16", 16},
    {TensorType::bf16, "BF16", 16},
    {TensorType::f32, "F32", 32},
    {TensorType::f64, "F64", 64},
    {TensorType::c64, "C64", 64},
}};

constexpr TensorTypeRow const& row(TensorType type) { return tensor_type_rows[static_cast<std::size_t>(type)]; }
constexpr std::string_view to_string(TensorType type) { return row(type).word; }

constexpr std::optional<TensorType> find_tensor_type(std::string_view word) {
  for (TensorTypeRow const& candidate : tensor_type_rows) {
    if (candidate.word == word) return candidate.type;
  }
  return std::nullopt;
}

// Four types are weights' own; every other one is carried through.
template <storage_scalar Scalar>
constexpr TensorType tensor_type_of() {
  if constexpr (std::same_as<Scalar, double>) return TensorType::f64;
  if constexpr (std::same_as<Scalar, float>) return TensorType::f32;
  if constexpr (std::same_as<Scalar, Eigen::half>) return TensorType::f16;
  if constexpr (std::same_as<Scalar, Eigen::bfloat16>) return TensorType::bf16;
}

// Calls use(Scalar()) for the scalar that a weight's type is of. False, and no call, for every other type.
template <class Use>
bool with_scalar_of(TensorType type, Use use) {
  switch (type) {
    case TensorType::f64:
      return use(double()), true;
    case TensorType::f32:
      return use(float()), true;
    case TensorType::f16:
      return use(Eigen::half()), true;
    case TensorType::bf16:
      return use(Eigen::bfloat16()), true;
    default:
      return false;
  }
}

// The bytes of so many elements, packed; empty if they are no whole number of bytes or do not fit in 63 bits.
constexpr std::optional<std::uint64_t> byte_count(TensorType type, std::span<std::uint64_t const> shape) {
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  std::uint64_t bits = row(type).bits;
  for (std::uint64_t const length : shape) {
    if (length != 0 && bits > most / length) return std::nullopt;
    bits *= length;
  }
  return bits % 8 == 0 ? std::optional(bits / 8) : std::nullopt;
}

namespace detail {

constexpr bool tensor_type_rows_are_in_order() {
  for (std::size_t i = 0; i < tensor_type_rows.size(); ++i) {
    if (static_cast<std::size_t>(tensor_type_rows[i].type) != i) return false;
  }
  return true;
}
static_assert(tensor_type_rows_are_in_order(), "row(type) indexes the table by enumerator");

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
