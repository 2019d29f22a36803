// SPDX-License-Identifier: MIT
// training/trainer_test.cpp -- optimizers, schedule and the training loop.
#include "catch.hpp"

#include "training/mlp.hpp"
#include "training/optimizer.hpp"
#include "training/trainer.hpp"
#include "training/workers.hpp"

#include <atomic>
#include <random>
#include <stdexcept>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;

NamedMatrices<double> matrix_and_vector(double value) {
  return {{"matrix", Matrix<double>::Constant(2, 2, value)}, {"vector", Matrix<double>::Constant(2, 1, value)}};
}

// Ten classes, told apart by which block of pixels is bright.
ImageSet striped_images(Index count) {
  ImageSet set;
  set.pixels.setZero(image_pixels, count);
  for (Index i = 0; i < count; ++i) {
    set.labels.push_back(static_cast<int>(i % image_classes));
    set.pixels.col(i).segment(i % image_classes * 78, 78).setConstant(static_cast<std::uint8_t>(100 + i % 97));
  }
  return set;
}

Mlp<float> trained(ImageSet const& images, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Mlp<float> model({image_pixels, 16, image_classes}, random);
  auto const no_report = [](double, double, double) {};
  auto const rate = [](double) { return 0.05; };
  train(model, images, {.epochs = 3, .batch_size = 20}, Sgd<float>(model.parameters), rate, random, no_report);
  return model;
}

}  // namespace

TEST_CASE("Sgd: momentum adds up, and weight decay spares vectors") {
  NamedMatrices<double> w = matrix_and_vector(1);
  Sgd<double> sgd(w, {.momentum = 0.5, .decay = 0.1});
  NamedMatrices<double> g = matrix_and_vector(2);
  update_all(sgd, w, g, 0.1);  // u = 2.1 and 2
  CHECK(w.at("matrix")(0, 0) == Approx(1 - 0.21));
  CHECK(w.at("vector")(0, 0) == Approx(1 - 0.2));
  update_all(sgd, w, g, 0.1);  // u = 0.5 * 2.1 + 2 + 0.1 * 0.79 and 0.5 * 2 + 2
  CHECK(w.at("matrix")(0, 0) == Approx(0.79 - 0.3129));
  CHECK(w.at("vector")(0, 0) == Approx(0.8 - 0.3));
}

TEST_CASE("AdamW: under a constant gradient every step is the rate, and decay spares vectors") {
  NamedMatrices<double> w = matrix_and_vector(1);
  AdamW<double> adam(w, {.beta1 = 0.9, .beta2 = 0.99, .eps = 0, .decay = 0.1});
  NamedMatrices<double> g = matrix_and_vector(-1e-3);
  update_all(adam, w, g, 0.01);
  update_all(adam, w, g, 0.01);
  CHECK(w.at("vector")(1, 0) == Approx(1.02));
  CHECK(w.at("matrix")(1, 1) == Approx((1 * 0.999 + 0.01) * 0.999 + 0.01));
}

TEST_CASE("warmup_cosine: from 0 to the peak to 0") {
  CHECK(warmup_cosine(0, 2, 0.1) == 0);
  CHECK(warmup_cosine(0.05, 2, 0.1) == Approx(1));
  CHECK(warmup_cosine(0.1, 2, 0.1) == Approx(2));
  CHECK(warmup_cosine(0.55, 2, 0.1) == Approx(1));
  CHECK(warmup_cosine(1, 2, 0.1) == Approx(0).margin(1e-15));
  CHECK(warmup_cosine(0, 2, 0) == 2);
}

TEST_CASE("run_workers: every piece runs once, and an exception comes out after all have ended") {
  std::atomic<int> ran = 0;
  run_workers(3, [&](int worker) { ran += 1 << (4 * worker); });
  CHECK(ran == 0x111);
  CHECK_THROWS_AS(run_workers(3,
                              [&](int worker) {
                                if (worker > 0) throw std::runtime_error("no");
                              }),
                  std::runtime_error);
}

TEST_CASE("train: learns, and the seed alone decides the result") {
  ImageSet const images = striped_images(210);
  Mlp<float> const model = trained(images, 5);
  CHECK(accuracy(logits_of(model, images), images.labels) > 0.99);
  CHECK(trained(images, 5).parameters == model.parameters);
  CHECK(trained(images, 6).parameters != model.parameters);
}
