// SPDX-License-Identifier: MIT
// tests/safetensors/safetensors_testing.hpp -- safetensors files made byte by byte.
#pragma once

#include <foldnorm/safetensors/safetensors_file.hpp>

#include "files/file_testing.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

namespace foldnorm::testing {

inline std::string length_bytes(std::uint64_t length) {
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes;
}
inline std::string file_bytes(std::string const& header, std::string const& data = {}) {
  return length_bytes(header.size()) + header + data;
}
template <class Scalar>
std::string data_bytes(std::vector<Scalar> const& values) {
  std::string bytes(values.size() * sizeof(Scalar), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// What opening a file of these bytes complains about, without the file's name; empty if it does not.
inline std::string complaint(std::string const& bytes) {
  TemporaryFolder const folder;
  std::filesystem::path const path = folder / "hostile.safetensors";
  write_bytes(path, bytes);
  try {
    SafetensorsFile const file(path);
  } catch (safetensors_error const& error) {
    std::string const text = error.what(), prefix = path.string() + ": ";
    return text.starts_with(prefix) ? text.substr(prefix.size()) : "no file's name: " + text;
  }
  return {};
}

}  // namespace foldnorm::testing
