// SPDX-License-Identifier: MIT
// training/trainer.hpp -- train a model on an image set, and run it over one: each minibatch on two threads.
//
// A model has: parameters, Activations, input_features(), forward(x, activations) -> logits, and
// backward(x, dlogits, activations, gradients). Images are columns; a model that reads tokens sees each image as
// image_pixels / input_features() columns.
#pragma once

#include "fashion_mnist_data.hpp"
#include "loss.hpp"
#include "named_matrices.hpp"
#include "norm.hpp"
#include "workers.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <span>
#include <vector>

namespace foldnorm::training {

// Fixed, not the number of cores: the split decides the order of the sums, so results depend on the seed alone.
inline constexpr int worker_count = 2;

struct TrainingPlan {
  int epochs = 5;
  Index batch_size = 128;
};

// The images of a batch as a model's input: input_features x tokens, in the same memory.
template <class Model>
Eigen::Map<Matrix<float> const> as_input(Model const& model, Matrix<float> const& pixels) {
  return {pixels.data(), model.input_features(), pixels.size() / model.input_features()};
}

// One pass per epoch over the images in a new random order; a last batch that is not full is left out.
// `rate_at` gives the learning rate for a progress in [0, 1]; `report(epochs_done, loss, accuracy)` is called after
// every batch with the means over the current epoch so far.
template <class Model, class Optimizer, class RateAt, class Report>
void train(Model& model, ImageSet const& images, TrainingPlan plan, Optimizer optimizer, RateAt const& rate_at,
           std::mt19937_64& random, Report const& report) {
  struct Worker {
    Matrix<float> pixels, dlogits;
    std::vector<int> labels;
    typename Model::Activations activations;
    NamedMatrices<float> gradients;
    LossSums sums;
  };
  std::array<Worker, worker_count> workers;
  for (Worker& worker : workers) worker.gradients = zeros_like(model.parameters);

  std::vector<Index> order(static_cast<std::size_t>(images.size()));
  std::iota(order.begin(), order.end(), Index{0});
  Index const batches = images.size() / plan.batch_size;
  for (int epoch = 0; epoch < plan.epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), random);
    LossSums epoch_sums;
    for (Index batch = 0; batch < batches; ++batch) {
      run_workers(worker_count, [&](int index) {
        Worker& worker = workers[static_cast<std::size_t>(index)];
        Index const first = batch * plan.batch_size + plan.batch_size * index / worker_count;
        Index const end = batch * plan.batch_size + plan.batch_size * (index + 1) / worker_count;
        auto const chosen =
            std::span(order).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(end - first));
        gather_images(images, chosen, worker.pixels);
        worker.labels.clear();
        for (Index const image : chosen) worker.labels.push_back(images.labels[static_cast<std::size_t>(image)]);

        auto const x = as_input(model, worker.pixels);
        Matrix<float> const& logits = model.forward(x, worker.activations);
        worker.sums =
            softmax_cross_entropy(logits, worker.labels, 1 / static_cast<float>(plan.batch_size), worker.dlogits);
        set_zero(worker.gradients);
        model.backward(x, worker.dlogits, worker.activations, worker.gradients);
      });
      for (Worker const& worker : workers) {
        if (&worker != &workers[0]) add_to(workers[0].gradients, worker.gradients);
        epoch_sums.loss += worker.sums.loss;
        epoch_sums.correct += worker.sums.correct;
      }
      double const epochs_done = epoch + static_cast<double>(batch + 1) / static_cast<double>(batches);
      optimizer.update(model.parameters, workers[0].gradients, rate_at(epochs_done / plan.epochs));
      double const seen = static_cast<double>((batch + 1) * plan.batch_size);
      report(epochs_done, epoch_sums.loss / seen, static_cast<double>(epoch_sums.correct) / seen);
    }
  }
}

// What a model computes of every image of a set: read(activations) after a forward pass of a batch is features x images
// of that batch. Precondition: the set is not empty.
template <class Model, class Read>
Matrix<float> outputs_of(Model const& model, ImageSet const& images, Read const& read) {
  constexpr Index batch = 125;  // 125 images x 16 tokens x 64 features of float: an activation takes half of L2
  Matrix<float> outputs;
  auto const fill = [&](Index begin, Index end) {
    typename Model::Activations activations;
    Matrix<float> pixels;
    std::vector<Index> chosen;
    for (Index first = begin; first < end; first += batch) {
      chosen.resize(static_cast<std::size_t>(std::min(batch, end - first)));
      std::iota(chosen.begin(), chosen.end(), first);
      gather_images(images, chosen, pixels);
      model.forward(as_input(model, pixels), activations, Pass::inference);
      Matrix<float> const& found = read(activations);
      if (outputs.size() == 0) outputs.resize(found.rows(), images.size());
      outputs.middleCols(first, pixels.cols()) = found;
    }
  };
  fill(0, 1);  // the size, before there are two threads
  run_workers(worker_count, [&](int index) {
    fill(images.size() * index / worker_count, images.size() * (index + 1) / worker_count);
  });
  return outputs;
}

// The logits (classes x images) of a whole set.
template <class Model>
Matrix<float> logits_of(Model const& model, ImageSet const& images) {
  return outputs_of(
      model, images, [](auto const& activations) -> auto const& { return activations.logits; });
}

// The share of right predictions.
inline double accuracy(Matrix<float> const& logits, std::vector<int> const& labels) {
  std::vector<Index> const predicted = predictions(logits);
  Index correct = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) correct += predicted[i] == labels[i];
  return static_cast<double>(correct) / static_cast<double>(labels.size());
}

}  // namespace foldnorm::training
