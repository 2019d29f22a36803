// SPDX-License-Identifier: MIT
// training/fashion_mnist_data.hpp -- Fashion-MNIST: 28x28 grey images of clothing in ten classes, and batches of them.
#pragma once

#include <foldnorm/core/types.hpp>

#include "idx_files.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace foldnorm::training {

inline constexpr Index image_side = 28;
inline constexpr Index image_pixels = image_side * image_side;
inline constexpr int image_classes = 10;

struct ImageSet {
  // A column per image: image_pixels of them, or as many as average_down leaves.
  Eigen::Matrix<std::uint8_t, Eigen::Dynamic, Eigen::Dynamic> pixels;
  std::vector<int> labels;  // one per image, in [0, image_classes)

  Index size() const { return pixels.cols(); }
};

struct FashionMnist {
  ImageSet train;  // 60,000 images in the published files
  ImageSet test;   // 10,000
};

inline constexpr char const* fashion_mnist_directory = "/usr/share/datasets/fashion-mnist";  // of the Debian package

namespace detail {

inline ImageSet read_image_set(std::filesystem::path const& directory, std::string const& prefix) {
  std::string const image_path = directory / (prefix + "-images-idx3-ubyte.gz");
  std::string const label_path = directory / (prefix + "-labels-idx1-ubyte.gz");
  for (std::string const& path : {image_path, label_path}) {
    if (!std::filesystem::exists(path)) {
      throw data_error(path + ": not found; install the Debian package dataset-fashion-mnist, or give the directory");
    }
  }
  IdxArray const images = read_idx(image_path, 3);
  IdxArray const labels = read_idx(label_path, 1);
  if (images.sizes[1] != image_side || images.sizes[2] != image_side || images.sizes[0] == 0) {
    throw data_error(image_path + ": holds " + std::to_string(images.sizes[0]) + " images of " +
                     std::to_string(images.sizes[1]) + "x" + std::to_string(images.sizes[2]) +
                     " pixels, expected some of 28x28");
  }
  if (labels.sizes[0] != images.sizes[0]) {
    throw data_error(label_path + ": holds " + std::to_string(labels.sizes[0]) + " labels for " +
                     std::to_string(images.sizes[0]) + " images");
  }
  if (*std::max_element(labels.bytes.begin(), labels.bytes.end()) >= image_classes) {
    throw data_error(label_path + ": holds a label above 9");
  }
  ImageSet set;
  set.pixels = decltype(set.pixels)::Map(images.bytes.data(), image_pixels, images.sizes[0]);
  set.labels.assign(labels.bytes.begin(), labels.bytes.end());
  return set;
}

}  // namespace detail

// Throws data_error ("FILE: what is wrong") if a file is missing or damaged.
inline FashionMnist load_fashion_mnist(std::filesystem::path const& directory = fashion_mnist_directory) {
  return {detail::read_image_set(directory, "train"), detail::read_image_set(directory, "t10k")};
}

// Appends the mirror image (left and right exchanged) of every image: clothes keep their class.
inline void append_mirrored(ImageSet& set) {
  Index const count = set.size();
  set.pixels.conservativeResize(Eigen::NoChange, 2 * count);
  for (Index row = 0; row < image_pixels; row += image_side) {
    set.pixels.block(row, count, image_side, count) = set.pixels.block(row, 0, image_side, count).colwise().reverse();
  }
  set.labels.resize(2 * set.labels.size());
  std::copy_n(set.labels.begin(), count, set.labels.begin() + count);
}

// Reorders the pixels of every image into square patches, each `side` x `side` pixels contiguous, patches row by row:
// read as (side * side) x (patches * images), a patch is a column. Precondition: side divides image_side.
inline void cut_into_patches(ImageSet& set, Index side) {
  Index const across = image_side / side;
  Eigen::Matrix<std::uint8_t, Eigen::Dynamic, 1> patches(image_pixels);
  for (Index image = 0; image < set.size(); ++image) {
    for (Index row = 0; row < image_side; ++row) {
      for (Index column = 0; column < image_side; ++column) {
        Index const patch = (row / side) * across + column / side;
        patches(patch * side * side + (row % side) * side + column % side) =
            set.pixels(row * image_side + column, image);
      }
    }
    set.pixels.col(image) = patches;
  }
}

// `count` images of a set, from the image `begin` on.
inline ImageSet part_of(ImageSet const& set, Index begin, Index count) {
  return {set.pixels.middleCols(begin, count), {set.labels.begin() + begin, set.labels.begin() + begin + count}};
}

// Every image averaged down to side x side pixels (rounded to whole grey levels), each the mean of a square of pixels.
// Precondition: side divides image_side.
inline ImageSet average_down(ImageSet const& set, Index side) {
  Index const square = image_side / side;
  ImageSet result{.pixels = {}, .labels = set.labels};
  result.pixels.resize(side * side, set.size());
  for (Index image = 0; image < set.size(); ++image) {
    for (Index pixel = 0; pixel < side * side; ++pixel) {
      int sum = 0;
      for (Index i = 0; i < square * square; ++i) {
        Index const row = pixel / side * square + i / square, column = pixel % side * square + i % square;
        sum += set.pixels(row * image_side + column, image);
      }
      int const count = static_cast<int>(square * square);
      result.pixels(pixel, image) = static_cast<std::uint8_t>((sum + count / 2) / count);
    }
  }
  return result;
}

// Copies the chosen images into the columns of `pixels` (pixels of an image x chosen.size(), resized), scaled to mean 0
// and deviation 1 over the training set.
template <real_scalar Scalar>
void gather_images(ImageSet const& set, std::span<Index const> chosen, Matrix<Scalar>& pixels) {
  constexpr auto mean = Scalar(72.94);  // of all training pixels, in grey levels of 0 .. 255
  constexpr auto deviation = Scalar(90.02);
  pixels.resize(set.pixels.rows(), static_cast<Index>(chosen.size()));
  for (Index j = 0; j < pixels.cols(); ++j) {
    pixels.col(j) =
        (set.pixels.col(chosen[static_cast<std::size_t>(j)]).template cast<Scalar>().array() - mean) / deviation;
  }
}

}  // namespace foldnorm::training
