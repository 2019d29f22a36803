// SPDX-License-Identifier: MIT
// training/data_test.cpp -- IDX files, good and damaged, and the images made from them.
#include "catch.hpp"

#include <zlib.h>

#include "training/fashion_mnist_data.hpp"

#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;
using Bytes = std::vector<std::uint8_t>;

// A folder of its own, gone at the end of the test.
class Folder {
 public:
  Folder() { std::filesystem::create_directories(path_); }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(Folder const&) = delete;
  Folder& operator=(Folder const&) = delete;

  std::filesystem::path const& path() const { return path_; }
  std::string write(std::string const& name, Bytes const& bytes) const {
    std::ofstream(path_ / name, std::ios::binary)
        .write(reinterpret_cast<char const*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return path_ / name;
  }
  std::string write_gzip(std::string const& name, Bytes const& bytes) const {
    std::string const file = path_ / name;
    gzFile const out = gzopen(file.c_str(), "wb");
    gzwrite(out, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(out);
    return file;
  }

 private:
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("foldnorm_data_test_" + std::to_string(getpid()));
};

Bytes idx(std::vector<std::uint32_t> const& sizes, Bytes const& data) {
  Bytes bytes{0, 0, 8, static_cast<std::uint8_t>(sizes.size())};
  for (std::uint32_t const size : sizes) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(size >> shift));
  }
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}

Bytes read_file(std::string const& path) {
  std::ifstream in(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

void check_refused(std::string const& file, std::string const& what) {
  INFO(what);
  CHECK_THROWS_AS(read_idx(file, 1), data_error);
  CHECK_THROWS_WITH(read_idx(file, 1), Catch::StartsWith(file + ": ") && Catch::Contains(what));
}

// Three images: pixel p of image i is (p + i) mod 251.
void write_set(Folder const& folder, std::string const& prefix, Bytes const& labels) {
  Bytes pixels(static_cast<std::size_t>(3 * image_pixels));
  for (std::size_t p = 0; p < pixels.size(); ++p) pixels[p] = static_cast<std::uint8_t>((p % 784 + p / 784) % 251);
  folder.write_gzip(prefix + "-images-idx3-ubyte.gz", idx({3, 28, 28}, pixels));
  folder.write_gzip(prefix + "-labels-idx1-ubyte.gz", idx({static_cast<std::uint32_t>(labels.size())}, labels));
}

}  // namespace

TEST_CASE("read_idx: reads plain and gzipped arrays") {
  Folder const folder;
  for (std::string const& file : {folder.write("plain", idx({2, 3}, {1, 2, 3, 4, 5, 6})),
                                  folder.write_gzip("zipped", idx({2, 3}, {1, 2, 3, 4, 5, 6}))}) {
    IdxArray const array = read_idx(file, 2);
    CHECK(array.sizes == std::vector<std::int64_t>{2, 3});
    CHECK(array.bytes == Bytes{1, 2, 3, 4, 5, 6});
  }
  CHECK(read_idx(folder.write("empty", idx({0}, {})), 1).bytes.empty());
}

TEST_CASE("read_idx: refuses damaged files by name") {
  Folder const folder;
  Bytes const good = idx({4}, {1, 2, 3, 4});
  check_refused(folder.path() / "missing", "cannot be opened");
  check_refused(folder.write("nothing", {}), "truncated: ends within the header");
  check_refused(folder.write("header", Bytes(good.begin(), good.begin() + 6)), "truncated: ends within the header");
  check_refused(folder.write("data", Bytes(good.begin(), good.end() - 1)), "truncated: ends within the data");
  check_refused(folder.write("type", {0, 0, 13, 1, 0, 0, 0, 0}), "is not an IDX file of unsigned bytes");
  check_refused(folder.write("dimensions", idx({2, 2}, {1, 2, 3, 4})), "in 1 dimensions");
  check_refused(folder.write("more", idx({3}, {1, 2, 3, 4})), "more data");
  check_refused(folder.write("promise", idx({0xffffffff}, {1})), "more than 2^30");
  check_refused(folder.write("smaller promise", idx({0x3fffffff}, {1})), "truncated");
  CHECK_THROWS_WITH(read_idx(folder.write("product", idx({0x10000, 0x10000, 0x10000}, {})), 3),
                    Catch::Contains("more than 2^30"));
}

TEST_CASE("read_idx: refuses damaged gzip data") {
  Folder const folder;
  Bytes data(5000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>((i * i * 31 + i / 7) % 253);
  Bytes zipped = read_file(folder.write_gzip("good", idx({5000}, data)));
  check_refused(folder.write("cut", Bytes(zipped.begin(), zipped.begin() + 600)), "truncated");
  check_refused(folder.write("no checksum", Bytes(zipped.begin(), zipped.end() - 8)), "truncated");
  Bytes wrong_sum = zipped;
  wrong_sum[wrong_sum.size() - 6] ^= 0xff;
  check_refused(folder.write("checksum", wrong_sum), "damaged gzip data");
  zipped[300] ^= 0xff;
  CHECK_THROWS_AS(read_idx(folder.write("flipped", zipped), 1), data_error);
}

TEST_CASE("load_fashion_mnist: reads both sets, or says what to install") {
  Folder const folder;
  CHECK_THROWS_WITH(load_fashion_mnist(folder.path()), Catch::Contains("dataset-fashion-mnist"));
  write_set(folder, "train", {0, 9, 4});
  write_set(folder, "t10k", {1, 2, 3});
  FashionMnist const data = load_fashion_mnist(folder.path());
  CHECK(data.train.size() == 3);
  CHECK(data.train.labels == std::vector<int>{0, 9, 4});
  CHECK(data.test.pixels(0, 2) == 2);

  write_set(folder, "t10k", {1, 2});
  CHECK_THROWS_WITH(load_fashion_mnist(folder.path()), Catch::Contains("2 labels for 3 images"));
  write_set(folder, "t10k", {1, 2, 10});
  CHECK_THROWS_WITH(load_fashion_mnist(folder.path()), Catch::Contains("a label above 9"));
  folder.write_gzip("t10k-images-idx3-ubyte.gz", idx({1, 4, 4}, Bytes(16)));
  CHECK_THROWS_WITH(load_fashion_mnist(folder.path()), Catch::Contains("expected some of 28x28"));
}

TEST_CASE("append_mirrored, cut_into_patches: every pixel goes where it belongs") {
  Folder const folder;
  write_set(folder, "train", {0, 9, 4});
  write_set(folder, "t10k", {1, 2, 3});
  ImageSet const original = load_fashion_mnist(folder.path()).train;
  ImageSet set = original;
  append_mirrored(set);
  REQUIRE(set.size() == 6);
  CHECK(set.labels == std::vector<int>{0, 9, 4, 0, 9, 4});
  CHECK(set.pixels.leftCols(3) == original.pixels);
  CHECK(set.pixels(5 * 28 + 3, 4) == original.pixels(5 * 28 + 24, 1));

  ImageSet patches = original;
  cut_into_patches(patches, 7);
  CHECK(patches.pixels((2 * 4 + 3) * 49 + 6 * 7 + 1, 2) == original.pixels((2 * 7 + 6) * 28 + 3 * 7 + 1, 2));
}

TEST_CASE("average_down: every pixel is the rounded mean of its square; part_of: a range of images") {
  ImageSet set;
  set.pixels.resize(image_pixels, 3);
  for (Index p = 0; p < image_pixels; ++p) set.pixels.row(p) << 7, static_cast<std::uint8_t>(p % 251), 255;
  set.labels = {4, 5, 6};
  ImageSet const small = average_down(set, 7);
  REQUIRE(small.pixels.rows() == 49);
  CHECK(small.labels == set.labels);
  CHECK((small.pixels.col(0).array() == 7).all());
  CHECK((small.pixels.col(2).array() == 255).all());  // 16 * 255 does not fit in a byte
  for (Index row = 0; row < 7; ++row) {
    for (Index column = 0; column < 7; ++column) {
      double mean = 0;
      for (Index y = 4 * row; y < 4 * row + 4; ++y) {
        for (Index x = 4 * column; x < 4 * column + 4; ++x) mean += static_cast<double>((28 * y + x) % 251) / 16;
      }
      CHECK(std::abs(small.pixels(7 * row + column, 1) - mean) <= 0.5);
    }
  }
  ImageSet const part = part_of(set, 1, 2);
  CHECK(part.pixels == set.pixels.rightCols(2));
  CHECK(part.labels == std::vector<int>{5, 6});
}
