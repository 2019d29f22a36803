// SPDX-License-Identifier: MIT
// foldnorm/safetensors/safetensors_file.hpp -- a safetensors file: checked when it is opened, read piece by piece.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/safetensors/header.hpp>
#include <foldnorm/safetensors/read_header.hpp>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <system_error>

namespace foldnorm::inline FOLDNORM_ABI {

static_assert(std::endian::native == std::endian::little,
              "safetensors files are read and written as they lie in memory");

class SafetensorsFile {
 public:
  // Reads the header, and no data. Throws safetensors_error for a file that cannot be opened, is not a regular file,
  // ends within its header, or has a header that read_header refuses or that is longer than the format allows.
  explicit SafetensorsFile(std::filesystem::path const& path) : name_(path.string()) {
    std::error_code error;
    if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error)) {
      fail("is not a regular file");
    }
    stream_.open(path, std::ios::binary);
    if (!stream_) fail(std::string("cannot be opened: ") + std::strerror(errno));
    std::uint64_t const file_bytes = std::filesystem::file_size(path, error);
    if (error) fail("its size is unknown: " + error.message());
    std::uint64_t header_bytes = 0;
    if (file_bytes < sizeof header_bytes) fail(std::to_string(file_bytes) + " bytes are no safetensors file");
    read_at(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
    if (header_bytes > most_header_bytes) {
      fail("header of " + std::to_string(header_bytes) + " bytes, expected at most " +
           std::to_string(most_header_bytes));
    }
    data_begin_ = sizeof header_bytes + header_bytes;
    if (data_begin_ > file_bytes) {
      fail("header of " + std::to_string(header_bytes) + " bytes in a file of " + std::to_string(file_bytes));
    }
    std::string text(header_bytes, '\0');
    read_at(sizeof header_bytes, std::as_writable_bytes(std::span(text)));
    header_ = read_header(std::move(text), file_bytes - data_begin_, name_);
  }

  std::string const& name() const { return name_; }  // the path, as messages give it
  SafetensorsHeader const& header() const { return header_; }

  // Fills `bytes` from this place in the data on. Throws safetensors_error where the file has become shorter. Not to be
  // called from two threads at once.
  void read(std::uint64_t begin, std::span<std::byte> bytes) const { read_at(data_begin_ + begin, bytes); }

 private:
  [[noreturn]] void fail(std::string const& what) const { detail::raise<safetensors_error>(name_ + ": " + what); }

  void read_at(std::uint64_t place, std::span<std::byte> bytes) const {
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(place));
    stream_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!stream_) fail("cannot be read: " + std::to_string(bytes.size()) + " bytes at byte " + std::to_string(place));
  }

  std::string name_;
  mutable std::ifstream stream_;
  std::uint64_t data_begin_ = 0;
  SafetensorsHeader header_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
