// SPDX-License-Identifier: MIT
// training/trainer.hpp -- train a model on an image set, and run it over one: each minibatch on two threads.
//
// What a model has to have: batch_gradients.hpp.
#pragma once

#include "batch_gradients.hpp"
#include "fashion_mnist_data.hpp"
#include "loss.hpp"
#include "named_matrices.hpp"
#include "norm.hpp"
#include "workers.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::training {

struct TrainingPlan {
  int epochs = 5;
  Index batch_size = 128;
  std::uint64_t seed = 1;  // of dropout and stochastic depth
};

// The images `chosen` of a set, and their labels.
template <real_scalar Scalar>
void load_samples(ImageSet const& images, std::span<Index const> chosen, Samples<Scalar>& samples) {
  gather_images(images, chosen, samples.inputs);
  samples.labels.clear();
  for (Index const image : chosen) samples.labels.push_back(images.labels[static_cast<std::size_t>(image)]);
}

// Batches in an order that a seed decides, for trainings that are compared step by step. Starts again when all samples
// were seen.
class BatchOrder {
 public:
  BatchOrder(Index samples, Index batch_size, std::uint64_t seed)
      : order_(static_cast<std::size_t>(samples)), batch_size_(static_cast<std::size_t>(batch_size)) {
    if (batch_size < 1 || batch_size > samples) {
      throw std::invalid_argument("batches of " + std::to_string(batch_size) + " cannot be made of " +
                                  std::to_string(samples) + " samples");
    }
    std::iota(order_.begin(), order_.end(), Index{0});
    std::mt19937_64 random(seed);
    std::shuffle(order_.begin(), order_.end(), random);
  }
  std::span<Index const> batch(int step) const {
    std::size_t const batches = order_.size() / batch_size_;
    return std::span(order_).subspan(static_cast<std::size_t>(step) % batches * batch_size_, batch_size_);
  }

 private:
  std::vector<Index> order_;
  std::size_t batch_size_;
};

// One pass per epoch over the samples in a new random order; a last batch that is not full is left out. `data` has
// size(), and load_samples as above.
// `rate_at` gives the learning rate for a progress in [0, 1]; `report(epochs_done, loss, accuracy)` is called after
// every batch with the means over the current epoch so far.
template <class Model, class Data, class Optimizer, class RateAt, class Report>
void train(Model& model, Data const& data, TrainingPlan plan, Optimizer optimizer, RateAt const& rate_at,
           std::mt19937_64& random, Report const& report) {
  BatchGradients<Model> batch_gradients(model, plan.seed);
  std::vector<Index> order(static_cast<std::size_t>(data.size()));
  std::iota(order.begin(), order.end(), Index{0});
  Index const batches = data.size() / plan.batch_size;
  for (int epoch = 0; epoch < plan.epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), random);
    LossSums epoch_sums;
    for (Index batch = 0; batch < batches; ++batch) {
      auto const chosen = std::span(order).subspan(static_cast<std::size_t>(batch * plan.batch_size),
                                                   static_cast<std::size_t>(plan.batch_size));
      epoch_sums += batch_gradients.compute(model, data, chosen);
      double const epochs_done = epoch + static_cast<double>(batch + 1) / static_cast<double>(batches);
      update_all(optimizer, model.parameters, batch_gradients.gradients(), rate_at(epochs_done / plan.epochs));
      report(epochs_done, epoch_sums.mean_loss(), epoch_sums.accuracy());
    }
  }
}

// The loss over all samples, without dropout.
template <class Model, class Data>
LossSums test(Model const& model, Data const& data) {
  using Scalar = typename Model::Scalar;
  constexpr Index batch = 100;
  std::array<LossSums, worker_count> sums;
  run_workers(worker_count, [&](int index) {
    typename Model::Activations activations;
    Samples<Scalar> samples;
    Matrix<Scalar> unused;
    std::vector<Index> chosen;
    Index const begin = data.size() * index / worker_count, end = data.size() * (index + 1) / worker_count;
    for (Index first = begin; first < end; first += batch) {
      chosen.resize(static_cast<std::size_t>(std::min(batch, end - first)));
      std::iota(chosen.begin(), chosen.end(), first);
      load_samples(data, chosen, samples);
      Matrix<Scalar> const& logits = model.forward(as_input(model, samples.inputs), activations, Pass::inference);
      sums[static_cast<std::size_t>(index)] += softmax_cross_entropy<Scalar>(logits, samples.labels, 1, unused);
    }
  });
  for (int index = 1; index < worker_count; ++index) sums[0] += sums[static_cast<std::size_t>(index)];
  return sums[0];
}

// What a model computes of every image of a set: read(activations) after a forward pass of a batch is features x images
// of that batch. Precondition: the set is not empty.
template <class Model, class Read>
Matrix<typename Model::Scalar> outputs_of(Model const& model, ImageSet const& images, Read const& read) {
  constexpr Index batch = 125;  // 125 images x 16 tokens x 64 features of float: an activation takes half of L2
  using Values = Matrix<typename Model::Scalar>;
  Values outputs;
  auto const fill = [&](Index begin, Index end) {
    typename Model::Activations activations;
    Values pixels;
    std::vector<Index> chosen;
    for (Index first = begin; first < end; first += batch) {
      chosen.resize(static_cast<std::size_t>(std::min(batch, end - first)));
      std::iota(chosen.begin(), chosen.end(), first);
      gather_images(images, chosen, pixels);
      model.forward(as_input(model, pixels), activations, Pass::inference);
      Values const& found = read(activations);
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
Matrix<typename Model::Scalar> logits_of(Model const& model, ImageSet const& images) {
  return outputs_of(
      model, images, [&](auto const& activations) -> auto const& { return model.logits(activations); });
}

// The share of right predictions.
template <real_scalar Scalar>
double accuracy(Matrix<Scalar> const& logits, std::vector<int> const& labels) {
  std::vector<Index> const predicted = predictions(logits);
  Index correct = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) correct += predicted[i] == labels[i];
  return static_cast<double>(correct) / static_cast<double>(labels.size());
}

}  // namespace foldnorm::training
