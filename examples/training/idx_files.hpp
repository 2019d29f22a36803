// SPDX-License-Identifier: MIT
// training/idx_files.hpp -- read the IDX files of the MNIST family, plain or gzipped.
//
// IDX: two zero bytes, a type byte (8: unsigned byte), the number of dimensions, then each size as a big-endian 32-bit
// integer, then the data, last dimension fastest.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::training {

// A data file that is missing or not what it should be; the message reads "FILE: what is wrong".
struct data_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct IdxArray {
  std::vector<std::int64_t> sizes;
  std::vector<std::uint8_t> bytes;  // product of the sizes
};

namespace detail {

class GzipReader {
 public:
  explicit GzipReader(std::string const& path) : path_(path), file_(gzopen(path.c_str(), "rb")) {
    if (!file_) throw data_error(path + ": cannot be opened");
  }

  // Reads exactly `count` bytes (below 2^31).
  void read(std::uint8_t* bytes, std::size_t count, char const* what) {
    if (read_some(bytes, count) < count) refuse(std::string("truncated: ends within the ") + what);
  }

  // Reads to the end of the file and so checks gzip's own checksum.
  void expect_end() {
    std::uint8_t byte = 0;
    if (read_some(&byte, 1) != 0) refuse("has more data than its sizes declare");
  }

 private:
  [[noreturn]] void refuse(std::string const& what) const { throw data_error(path_ + ": " + what); }

  // Fewer than `count` bytes only at the end of the file.
  std::size_t read_some(std::uint8_t* bytes, std::size_t count) {
    int const got = gzread(file_.get(), bytes, static_cast<unsigned>(count));
    int error = Z_OK;
    std::string const message = gzerror(file_.get(), &error);
    if (error == Z_BUF_ERROR) refuse("truncated: ends within its gzip data");
    if (got < 0) refuse("damaged gzip data: " + message);
    return static_cast<std::size_t>(got);
  }

  struct Close {
    void operator()(gzFile file) const { gzclose(file); }
  };
  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
};

}  // namespace detail

// Throws data_error unless the file is an IDX array of unsigned bytes with that many dimensions and nothing behind it.
inline IdxArray read_idx(std::string const& path, std::size_t dimensions) {
  constexpr std::int64_t most_bytes = std::int64_t{1} << 30;  // no file of the family comes near it
  detail::GzipReader file(path);
  std::array<std::uint8_t, 4> magic{};
  file.read(magic.data(), magic.size(), "header");
  if (magic != std::array<std::uint8_t, 4>{0, 0, 8, static_cast<std::uint8_t>(dimensions)}) {
    throw data_error(path + ": is not an IDX file of unsigned bytes in " + std::to_string(dimensions) + " dimensions");
  }

  IdxArray array;
  std::int64_t total = 1;
  for (std::size_t i = 0; i < dimensions; ++i) {
    std::array<std::uint8_t, 4> size{};
    file.read(size.data(), size.size(), "header");
    array.sizes.push_back((std::int64_t{size[0]} << 24) | (size[1] << 16) | (size[2] << 8) | size[3]);
    if (array.sizes.back() > 0 && total > most_bytes / array.sizes.back()) {
      throw data_error(path + ": its sizes declare more than 2^30 bytes");
    }
    total *= array.sizes.back();
  }

  // Piece by piece: a header that promises more than the file holds must not cost memory.
  constexpr std::size_t piece = 1 << 20;
  while (array.bytes.size() < static_cast<std::size_t>(total)) {
    std::size_t const start = array.bytes.size();
    std::size_t const count = std::min(piece, static_cast<std::size_t>(total) - start);
    array.bytes.resize(start + count);
    file.read(array.bytes.data() + start, count, "data");
  }
  file.expect_end();
  return array;
}

}  // namespace foldnorm::training
