// SPDX-License-Identifier: MIT
// foldnorm/safetensors/header.hpp -- what a safetensors file says about its tensors.
//
//   8 bytes: N, little endian | N bytes: JSON | data
//   {"__metadata__": {"key": "text"}, "fc1.weight": {"dtype": "F16", "shape": [256, 784], "data_offsets": [0, 401408]}}
//
// Offsets count from where the data begin; tensors are row-major and cover the data without holes.
#pragma once

#include <foldnorm/safetensors/tensor_type.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// A file that is no safetensors file, or does not fit a graph: "FILE: what is wrong".
struct safetensors_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct TensorDescription {
  std::string name;
  TensorType type = TensorType::f32;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0;  // of its bytes in the data
  std::uint64_t end = 0;
  bool operator==(TensorDescription const&) const = default;
};

struct SafetensorsHeader {
  using Metadata = std::vector<std::pair<std::string, std::string>>;

  std::string text;                                        // the JSON as it is in the file, with its padding
  std::optional<Metadata> metadata;                        // in the file's order
  std::vector<TensorDescription> tensors;                  // in the header's order
  std::map<std::string, std::size_t, std::less<>> places;  // in `tensors`, by name

  TensorDescription const* find(std::string_view name) const {
    auto const place = places.find(name);
    return place == places.end() ? nullptr : &tensors[place->second];
  }
};

// The format's own limit.
inline constexpr std::uint64_t most_header_bytes = 100'000'000;

// "256x784", as messages give sizes; "scalar" for none.
inline std::string shape_text(std::span<std::uint64_t const> shape) {
  std::string text;
  for (std::uint64_t const length : shape) text += (text.empty() ? "" : "x") + std::to_string(length);
  return text.empty() ? "scalar" : text;
}

namespace detail {

// A name from a file in a message: escaped, and not the whole of it where it is long.
inline std::string in_quotes(std::string_view name) {
  constexpr std::size_t most = 80;
  bool const is_long = name.size() > most;
  using nlohmann::json;
  std::string const text = json(name.substr(0, most)).dump(-1, ' ', true, json::error_handler_t::replace);
  return is_long ? text + "..." : text;
}

}  // namespace detail

// The JSON of these tensors, padded with spaces so that the data begin at a multiple of 8 bytes.
inline std::string header_text(std::optional<SafetensorsHeader::Metadata> const& metadata,
                               std::span<TensorDescription const> tensors) {
  auto const text_of = [](std::string const& value) { return nlohmann::json(value).dump(); };
  std::string text = "{";
  if (metadata) {
    std::string entries;
    for (auto const& [key, value] : *metadata) {
      entries += (entries.empty() ? "" : ",") + text_of(key) + ':' + text_of(value);
    }
    text += "\"__metadata__\":{" + entries + '}';
  }
  for (TensorDescription const& tensor : tensors) {
    if (text.size() > 1) text += ',';
    text += text_of(tensor.name) + ":{\"dtype\":\"" + std::string(to_string(tensor.type)) + "\",\"shape\":[";
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
      text += (i > 0 ? "," : "") + std::to_string(tensor.shape[i]);
    }
    text += "],\"data_offsets\":[" + std::to_string(tensor.begin) + ',' + std::to_string(tensor.end) + "]}";
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
