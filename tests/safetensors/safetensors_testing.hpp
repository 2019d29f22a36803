// SPDX-License-Identifier: MIT
// tests/safetensors/safetensors_testing.hpp -- files made byte by byte, in a folder of their own.
#pragma once

#include <foldnorm/safetensors/safetensors_file.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::testing {

// Gone with all that is in it when the test ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "foldnorm_XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error(pattern + ": cannot be made");
    path_ = pattern;
  }
  TemporaryFolder(TemporaryFolder const&) = delete;
  TemporaryFolder& operator=(TemporaryFolder const&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }

  std::filesystem::path operator/(std::string const& name) const { return path_ / name; }
  std::size_t file_count() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
  }

 private:
  std::filesystem::path path_;
};

inline void write_bytes(std::filesystem::path const& path, std::string const& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}
inline std::string read_bytes(std::filesystem::path const& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

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
