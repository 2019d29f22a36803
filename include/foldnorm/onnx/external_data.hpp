// SPDX-License-Identifier: MIT
// foldnorm/onnx/external_data.hpp -- tensors whose bytes lie in a file beside the model's.
//
// A model says where: a path relative to its own folder, an offset, a length. Each is checked before a byte is read:
// the path is not to leave the folder, by ".." or by a link, and what it names is a regular file that has those bytes.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/onnx/model_file.hpp>

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace foldnorm::detail {

inline bool is_external(::onnx::TensorProto const& tensor) {
  return tensor.data_location() == ::onnx::TensorProto::EXTERNAL;
}

// The tensor's bytes, of which there have to be `expected`. Throws onnx_error with the model's file and the tensor's
// name.
inline std::string external_bytes(::onnx::TensorProto const& tensor, std::uint64_t expected, OnnxFile const& file) {
  auto const fail = [&](std::string const& what) {
    detail::raise<onnx_error>(file.name() + ": tensor " + printable(tensor.name()) + ": external data " + what);
  };
  auto const number = [&](std::string const& key, std::string const& text) {
    std::uint64_t value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) fail(key + " " + printable(text));
    return value;
  };
  std::string location;
  std::uint64_t offset = 0, length = expected;
  for (auto const& entry : tensor.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") offset = number("offset", entry.value());
    if (entry.key() == "length") length = number("length", entry.value());
  }
  std::filesystem::path const relative(location);
  bool leaves = relative.empty() || relative.has_root_path() || location.find('\0') != std::string::npos;
  for (auto const& part : relative) leaves = leaves || part == "..";
  if (leaves) fail("at " + printable(location) + ", expected a path inside the model's folder");
  std::error_code error;
  auto const folder = std::filesystem::canonical(file.folder(), error);
  auto const path = std::filesystem::canonical(file.folder() / relative, error);
  if (error) fail("at " + printable(location) + ": " + error.message());
  auto const inside = path.lexically_relative(folder);
  if (inside.empty() || *inside.begin() == "..") fail("at " + printable(location) + " is a link out of the folder");
  if (!std::filesystem::is_regular_file(path)) fail("at " + printable(location) + " is not a regular file");
  std::uint64_t const size = std::filesystem::file_size(path);
  if (length != expected) {
    fail("of " + std::to_string(length) + " bytes, expected " + std::to_string(expected) + " by its shape");
  }
  if (offset > size || length > size - offset) {
    fail("at bytes " + std::to_string(offset) + " + " + std::to_string(length) + " of " + printable(location) +
         ", which has " + std::to_string(size));
  }
  std::string bytes(length, '\0');
  std::ifstream stream(path, std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(offset));
  stream.read(bytes.data(), static_cast<std::streamsize>(length));
  if (!stream) fail("at " + printable(location) + " cannot be read");
  return bytes;
}

}  // namespace foldnorm::detail
