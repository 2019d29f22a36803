// SPDX-License-Identifier: MIT
// foldnorm/safetensors/read_header.hpp -- a safetensors header, read and checked: every claim it makes about the data.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/safetensors/detail/header_reader.hpp>
#include <foldnorm/safetensors/header.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

inline std::string bytes_of(TensorDescription const& tensor) {
  return "tensor " + in_quotes(tensor.name) + " (bytes " + std::to_string(tensor.begin) + ":" +
         std::to_string(tensor.end) + ")";
}

// Each tensor's bytes are as many as its shape says and lie in the data; all of them cover the data, each byte once.
inline void check_offsets(SafetensorsHeader const& header, std::uint64_t data_bytes, std::string const& source) {
  auto const fail = [&](std::string const& what) { detail::raise<safetensors_error>(source + ": " + what); };
  std::vector<TensorDescription const*> by_place;
  for (TensorDescription const& tensor : header.tensors) {
    auto const bytes = byte_count(tensor.type, tensor.shape);
    std::string const size = shape_text(tensor.shape) + " of " + std::string(to_string(tensor.type));
    if (!bytes) fail("tensor " + in_quotes(tensor.name) + ": " + size + " is no number of bytes that a file can have");
    if (tensor.begin > tensor.end || tensor.end > data_bytes) {
      fail(bytes_of(tensor) + " lies outside of the file's " + std::to_string(data_bytes) + " bytes of data");
    }
    if (tensor.end - tensor.begin != *bytes) {
      fail(bytes_of(tensor) + ": " + size + " takes " + std::to_string(*bytes) + " bytes");
    }
    by_place.push_back(&tensor);
  }
  std::ranges::sort(by_place, {}, [](TensorDescription const* t) { return std::pair(t->begin, t->end); });
  std::uint64_t covered = 0;
  auto const check_hole = [&](std::uint64_t begin) {
    if (begin <= covered) return;
    fail("bytes " + std::to_string(covered) + ":" + std::to_string(begin) + " of the data belong to no tensor");
  };
  for (TensorDescription const* const tensor : by_place) {
    check_hole(tensor->begin);
    if (tensor->begin < covered) fail(bytes_of(*tensor) + " overlaps another tensor");
    covered = tensor->end;
  }
  check_hole(data_bytes);
}

}  // namespace detail

// The header that this JSON is, of a file with so many bytes of data behind it; `source` names the file in messages.
// Throws safetensors_error: text that is no JSON object in UTF-8, or is nested otherwise than the format says; keys
// that are unknown, missing or there twice; types that are none; sizes that overflow or disagree with the offsets;
// offsets outside of the data, that overlap or leave a hole. The memory it takes is a small multiple of the text's.
inline SafetensorsHeader read_header(std::string text, std::uint64_t data_bytes, std::string const& source) {
  if (!text.starts_with('{')) detail::raise<safetensors_error>(source + ": header: expected a JSON object");
  // The parser would take it for the end, and not read on.
  if (text.find('\0') != std::string::npos) detail::raise<safetensors_error>(source + ": header: a zero byte");
  SafetensorsHeader header;
  detail::HeaderReader reader(header);
  if (!nlohmann::json::sax_parse(text, &reader)) detail::raise<safetensors_error>(source + ": " + reader.fault());
  detail::check_offsets(header, data_bytes, source);
  header.text = std::move(text);
  return header;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
