// SPDX-License-Identifier: MIT
// onnx/model_inputs.hpp -- values for a model's inputs: random ones, from what the model says of their types and sizes.
#pragma once

#include "onnx_runtime.hpp"

#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace foldnorm::onnx_models {

using onnx_runtime::Tensor;
using onnx_runtime::TensorInfo;
using onnx_runtime::Type;

struct InputOptions {
  std::uint64_t seed = 1;
  std::int64_t size = 8;                                   // of every dimension that a call may choose
  std::map<std::string, std::int64_t, std::less<>> sizes;  // of some, by the dimension's name in the model
  std::pair<std::int64_t, std::int64_t> integers{0, 1};    // first and last of integer inputs: both masks and ids
  std::map<std::string, std::pair<std::int64_t, std::int64_t>, std::less<>> ranges;  // of some, by the input's name
  std::map<std::string, Tensor, std::less<>> given;                                  // these are not random
};

// Calls function(Scalar{}) for the type's scalar. Throws std::runtime_error for a type that is not listed.
template <class Function>
decltype(auto) with_scalar(Type type, Function const& function) {
  switch (type) {
    case Type::f32:
      return function(float{});
    case Type::f64:
      return function(double{});
    case Type::f16:
      return function(Eigen::half{});
    case Type::bf16:
      return function(Eigen::bfloat16{});
    case Type::i64:
      return function(std::int64_t{});
    case Type::i32:
      return function(std::int32_t{});
    case Type::i8:
      return function(std::int8_t{});
    case Type::u8:
    case Type::boolean:
      return function(std::uint8_t{});
  }
  throw std::runtime_error("tensors of ONNX type " + std::to_string(static_cast<int>(type)) + " are not supported");
}

namespace detail {

template <class Value>
Value const* find(std::map<std::string, Value, std::less<>> const& values, std::string_view name) {
  auto const found = values.find(name);
  return found == values.end() ? nullptr : &found->second;
}

inline void require_integers(TensorInfo const& info, std::int64_t first, std::int64_t last) {
  with_scalar(info.type, [&]<class Scalar>(Scalar) {
    if constexpr (std::is_integral_v<Scalar>) {
      std::int64_t const least = std::numeric_limits<Scalar>::min(), most = std::numeric_limits<Scalar>::max();
      if (first >= least && last <= (info.type == Type::boolean ? 1 : most)) return;
    }
    throw std::invalid_argument("input '" + info.name + "' has no integers from " + std::to_string(first) + " to " +
                                std::to_string(last));
  });
}

inline Tensor random_tensor(TensorInfo const& info, InputOptions const& options, std::mt19937_64& random) {
  Tensor tensor{info.type, info.shape, {}};
  std::size_t count = 1;
  for (std::size_t i = 0; i < info.shape.size(); ++i) {
    std::int64_t& size = tensor.shape[i];
    if (size < 0) {
      std::int64_t const* const chosen = find(options.sizes, info.symbols[i]);
      size = chosen ? *chosen : options.size;
    }
    count *= static_cast<std::size_t>(size);
  }
  auto const* const range = find(options.ranges, info.name);
  auto const [first, last] = range ? *range : options.integers;
  // Unsigned: a range may be all that 64 bits hold, whose count is 0.
  auto const low = static_cast<std::uint64_t>(first), choices = static_cast<std::uint64_t>(last) - low + 1;
  with_scalar(info.type, [&]<class Scalar>(Scalar) {
    tensor.bytes.resize(count * sizeof(Scalar));
    for (std::size_t i = 0; i < count; ++i) {
      Scalar value{};
      if constexpr (std::is_integral_v<Scalar>) {
        std::uint64_t const draw = random();
        auto const integer = static_cast<std::int64_t>(low + (choices == 0 ? draw : draw % choices));
        value = static_cast<Scalar>(info.type == Type::boolean ? integer != 0 : integer);
      } else {  // uniform, of unit variance
        double const unit = static_cast<double>(random() >> 11) * 0x1p-53;
        value = static_cast<Scalar>(std::sqrt(3.0) * (2 * unit - 1));
      }
      std::memcpy(tensor.bytes.data() + i * sizeof(Scalar), &value, sizeof value);
    }
  });
  return tensor;
}

}  // namespace detail

// By name: those that are given, and random ones for the others. Throws std::invalid_argument if a given one has
// another type or size than the model asks for, an option names no input and no dimension of the model, or a range is
// one of numbers that are no integers or holds what their type does not; std::runtime_error for a type without values
// here (with_scalar).
inline std::map<std::string, Tensor> model_inputs(std::vector<TensorInfo> inputs, InputOptions const& options) {
  auto const input = [&](std::string const& name) {
    auto const found = std::ranges::find(inputs, name, &TensorInfo::name);
    if (found == inputs.end()) throw std::invalid_argument("the model has no input '" + name + "'");
    return *found;
  };
  for (auto const& [name, range] : options.ranges) detail::require_integers(input(name), range.first, range.second);
  for (auto const& [name, tensor] : options.given) input(name);
  for (auto const& [name, size] : options.sizes) {
    bool const is_there = std::ranges::any_of(inputs, [&, &key = name](TensorInfo const& info) {
      return std::ranges::find(info.symbols, key) != info.symbols.end();
    });
    if (!is_there) throw std::invalid_argument("the model has no dimension '" + name + "'");
  }
  std::ranges::sort(inputs, {}, &TensorInfo::name);  // two models may list them in two orders
  std::mt19937_64 random(options.seed);
  std::map<std::string, Tensor> values;
  for (TensorInfo const& info : inputs) {
    Tensor const* const given = detail::find(options.given, info.name);
    if (given) {
      bool fits = given->type == info.type && given->shape.size() == info.shape.size();
      for (std::size_t i = 0; fits && i < info.shape.size(); ++i) {
        fits = info.shape[i] < 0 || info.shape[i] == given->shape[i];
      }
      if (!fits) throw std::invalid_argument("the value given for input '" + info.name + "' does not fit");
    }
    values.emplace(info.name, given ? *given : detail::random_tensor(info, options, random));
  }
  return values;
}

}  // namespace foldnorm::onnx_models
