// SPDX-License-Identifier: MIT
// training/augmentation.hpp -- random views of Fashion-MNIST images: what self-supervised learning shall not see.
//
// Each view of an image is moved, mirrored or not, lit differently, overlaid with noise, and loses a rectangle.
#pragma once

#include "fashion_mnist_data.hpp"

#include <cstdint>
#include <random>
#include <span>

namespace foldnorm::training {

struct AugmentationSettings {
  Index largest_shift = 1;  // pixels, in both directions
  float brightness = 0.3f;  // added, up to so many deviations of the training set's pixels
  float contrast = 0.3f;    // 1 +- this times the image
  float noise = 0.1f;       // uniform within +- this in each pixel
  Index least_erased = 4;   // sides of the erased rectangle, pixels
  Index most_erased = 8;
};

// One stream of random views. Streams of one seed differ by their number; neighbouring seeds of one generator could be
// shifted copies of each other, hence the seed sequence.
class Augmentation {
 public:
  Augmentation(std::uint64_t seed, std::uint32_t stream, AugmentationSettings settings = {}) : settings_(settings) {
    std::seed_seq words{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32), stream};
    random_.seed(words);
  }

  // A view of each of the chosen images: image_pixels x chosen.size() (resized), scaled as gather_images does.
  void operator()(ImageSet const& set, std::span<Index const> chosen, Matrix<float>& views) {
    gather_images(set, chosen, images_);
    views.resize(images_.rows(), images_.cols());
    for (Index j = 0; j < images_.cols(); ++j) {
      using Image = Eigen::Map<Eigen::Matrix<float, image_side, image_side>>;  // a column of it is a row of pixels
      view_of(Image(images_.col(j).data()), Image(views.col(j).data()));
    }
  }

 private:
  static constexpr float background = -0.81f;  // a pixel of 0, scaled

  Index integer(Index least, Index most) { return std::uniform_int_distribution<Index>(least, most)(random_); }
  float real(float range) { return std::uniform_real_distribution<float>(-range, range)(random_); }

  template <class Image>
  void view_of(Image const& image, Image view) {
    Index const right = integer(-settings_.largest_shift, settings_.largest_shift);
    Index const down = integer(-settings_.largest_shift, settings_.largest_shift);
    Index const width = image_side - std::abs(right), height = image_side - std::abs(down);
    view.setConstant(background);
    view.block(std::max<Index>(right, 0), std::max<Index>(down, 0), width, height) =
        image.block(std::max<Index>(-right, 0), std::max<Index>(-down, 0), width, height);
    if (integer(0, 1) == 1) view = view.colwise().reverse().eval();

    float const contrast = 1 + real(settings_.contrast), brightness = real(settings_.brightness);
    view = (view.array() * contrast + brightness).matrix();
    for (Index i = 0; i < view.size(); i += 4) {  // 16 random bits a pixel are enough for noise
      std::uint64_t bits = random_();
      for (Index k = i; k < i + 4; ++k, bits >>= 16) {
        view(k) += settings_.noise * (static_cast<float>(bits & 0xffff) * 0x1p-15f - 1);
      }
    }
    Index const erased_width = integer(settings_.least_erased, settings_.most_erased);
    Index const erased_height = integer(settings_.least_erased, settings_.most_erased);
    // One draw a statement: in one expression, compilers would draw in different orders.
    Index const erased_down = integer(0, image_side - erased_height);
    Index const erased_right = integer(0, image_side - erased_width);
    view.block(erased_right, erased_down, erased_width, erased_height).setConstant(background);
  }

  AugmentationSettings settings_;
  std::mt19937_64 random_;
  Matrix<float> images_;
};

}  // namespace foldnorm::training
