// SPDX-License-Identifier: MIT
// training/self_supervised_test.cpp -- views, the training on them, and the judges of what it learnt.
#include "catch.hpp"

#include "training/augmentation.hpp"
#include "training/embedding_measures.hpp"
#include "training/linear_probe.hpp"
#include "training/view_losses.hpp"
#include "training/view_trainer.hpp"
#include "whitening/instances.hpp"

#include <array>
#include <random>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

ImageSet random_images(Index count) {
  std::mt19937_64 random(3);
  ImageSet set;
  set.pixels.resize(image_pixels, count);
  for (Index i = 0; i < set.pixels.size(); ++i) set.pixels(i) = static_cast<std::uint8_t>(random() % 256);
  for (Index i = 0; i < count; ++i) set.labels.push_back(static_cast<int>(i % image_classes));
  return set;
}

Matrix<float> views(ImageSet const& images, std::uint64_t seed, std::uint32_t stream,
                    AugmentationSettings settings = {}) {
  std::vector<Index> const chosen{0, 1, 2, 3, 4, 5, 6, 7};
  Matrix<float> result;
  Augmentation(seed, stream, settings)(images, chosen, result);
  return result;
}

// Three clouds a class apart, in six dimensions.
LabelledFeatures clouds(Index count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  LabelledFeatures set{random_matrix<float>(6, count, 0.1, random), {}};
  for (Index i = 0; i < count; ++i) {
    set.labels.push_back(static_cast<int>(i % 3));
    set.features(i % 3, i) += 1;
  }
  return set;
}

}  // namespace

TEST_CASE("augmentation: a seed and a stream give the same views, another stream others") {
  ImageSet const images = random_images(8);
  CHECK(views(images, 1, 1) == views(images, 1, 1));
  CHECK((views(images, 1, 1) - views(images, 1, 2)).cwiseAbs().mean() > 0.3f);
  CHECK((views(images, 1, 1) - views(images, 2, 1)).cwiseAbs().mean() > 0.3f);
}

TEST_CASE("augmentation: with nothing to do a view is the image or its mirror image") {
  ImageSet const images = random_images(8);
  AugmentationSettings const nothing{
      .largest_shift = 0, .brightness = 0, .contrast = 0, .noise = 0, .least_erased = 0, .most_erased = 0};
  Matrix<float> const found = views(images, 5, 1, nothing);
  Matrix<float> plain;
  gather_images(images, std::vector<Index>{0, 1, 2, 3, 4, 5, 6, 7}, plain);
  int mirrored = 0;
  for (Index j = 0; j < found.cols(); ++j) {
    using Image = Eigen::Map<Eigen::Matrix<float, image_side, image_side> const>;
    Image const image(plain.col(j).data()), view(found.col(j).data());
    bool const same = view.isApprox(image), mirror = view.isApprox(image.colwise().reverse());
    CHECK((same || mirror));
    mirrored += mirror;
  }
  CHECK(mirrored > 0);
  CHECK(mirrored < 8);
}

TEST_CASE("augmentation: a shift fills up with background, an erased rectangle has its least size") {
  ImageSet images = random_images(8);
  images.pixels.setConstant(255);
  AugmentationSettings const shift{
      .largest_shift = 3, .brightness = 0, .contrast = 0, .noise = 0, .least_erased = 0, .most_erased = 0};
  AugmentationSettings const erase{
      .largest_shift = 0, .brightness = 0, .contrast = 0, .noise = 0, .least_erased = 5, .most_erased = 5};
  Matrix<float> const shifted = views(images, 1, 1, shift), erased = views(images, 1, 1, erase);
  for (Index j = 0; j < 8; ++j) {
    CHECK((shifted.col(j).array() < 0).count() <= 2 * 3 * image_side);
    CHECK((erased.col(j).array() < 0).count() == 25);
  }
  CHECK((shifted.array() < 0).any());
}

TEST_CASE("measure_embedding: as many directions as there are, and the cosine of a common direction") {
  std::mt19937_64 random(7);
  Matrix<float> const even = random_matrix<float>(16, 4000, 1, random);
  EmbeddingMeasures const spread = measure_embedding(even);
  CHECK(spread.participation == Approx(16).epsilon(0.02));
  CHECK(std::abs(spread.cosine) < 0.01);
  CHECK(spread.spectrum.sum() == Approx(1));
  CHECK(spread.spectrum(0) >= spread.spectrum(15));
  Matrix<float> collapsed = 1e-3f * even;
  collapsed.row(0).array() += 1;  // one direction, and a broad spectrum around it: only the cosine tells
  EmbeddingMeasures const around_one = measure_embedding(collapsed);
  CHECK(around_one.participation == Approx(16).epsilon(0.02));
  CHECK(around_one.cosine > 0.999);
  Matrix<float> const line = random_matrix<float>(16, 1, 1, random) * random_matrix<float>(1, 50, 1, random);
  CHECK(measure_embedding(line).participation == Approx(1));
}

TEST_CASE("train_probe: separates what a plane separates, from all labels and from few") {
  LabelledFeatures train = clouds(600, 1), test = clouds(300, 2);
  standardize(train, std::array<LabelledFeatures*, 2>{&train, &test});
  CHECK(std::abs(train.features.mean()) < 1e-5f);
  ProbeSettings const settings{.epochs = 20, .batch_size = 50, .rate = 1e-2};
  CHECK(probe_accuracy(train_probe(train, settings, 1), test) == 1);
  std::mt19937_64 random(1);
  LabelledFeatures const few = few_labels(train, 4, random);
  std::array<int, image_classes> count{};
  for (std::size_t i = 0; i < few.labels.size(); ++i) ++count[static_cast<std::size_t>(few.labels[i])];
  CHECK(count[0] == 4);
  CHECK(count[2] == 4);
  CHECK(count[3] == 0);
  CHECK(few.features.cols() == 12);
  std::array<float, 2> const l2{1e-3f, 10};
  ProbeScore const score = probe_score(few, train, test, {.epochs = 200, .rate = 1e-2}, l2, 1);
  CHECK(score.validation > 0.95);  // twelve samples say less than six hundred
  CHECK(score.test > 0.95);
}

TEST_CASE("train_on_views: INTL lowers its loss, and the seed alone decides the result") {
  ImageSet const images = random_images(128);
  auto const run = [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    Mlp<float> model({image_pixels, 32, 16}, random);
    std::vector<double> losses;
    ViewTraining const result = train_on_views(
        model, images, {.epochs = 12, .batch_size = 32}, AdamW<float>(model.parameters), [](double) { return 1e-2; },
        seed, Intl{{.trace_weight = trace_weight(32)}},
        [&](double epochs, ViewLoss const& loss) {
          if (epochs == std::floor(epochs)) losses.push_back(loss.value);
        });
    CHECK(result.view_difference > 0.1);
    return losses;
  };
  std::vector<double> const losses = run(1);
  REQUIRE(losses.size() == 12);
  CHECK(losses.back() < 0.7 * losses.front());  // .49 to .53 for the seeds 1 to 12
  CHECK(run(1) == losses);
  CHECK(run(2) != losses);
}

TEST_CASE("view losses: gradients point downhill, and do so for every loss") {
  std::mt19937_64 random(11);
  std::array<Matrix<float>, 2> views{random_matrix<float>(12, 48, 1, random), Matrix<float>()}, dviews;
  views[1] = views[0] + random_matrix<float>(12, 48, 0.5, random);
  auto const check = [&](auto loss, char const* name) {
    INFO(name);
    auto const at = [&](std::array<Matrix<float>, 2> const& where) {
      std::array<Matrix<float>, 2> unused;
      return loss(Views(where), ViewGradients(unused)).value;
    };
    double const before = loss(Views(views), ViewGradients(dviews)).value;
    double const squares = double(dviews[0].squaredNorm() + dviews[1].squaredNorm());
    REQUIRE(squares > 0);
    auto moved = views;
    auto const step = static_cast<float>(1e-3 / std::sqrt(squares));
    for (std::size_t i = 0; i < 2; ++i) moved[i] -= step * dviews[i];
    CHECK((before - at(moved)) / (double(step) * squares) == Approx(1).epsilon(0.05));  // to first order
  };
  check(Intl{{.trace_weight = .05, .variables = WhitenedVariables::features}}, "INTL over features");
  check(AlignmentAlone{}, "alignment alone");
  check(WhitenedAlignment(12, 1e-2), "ZCA");
}
