// SPDX-License-Identifier: MIT
// training/batch_gradients.hpp -- the loss of a minibatch and its gradients, on two threads.
//
// A model has: parameters, Activations, input_features(), forward(x, activations) -> logits, and
// backward(x, dlogits, activations, gradients). Samples are columns of numbers; a model that reads tokens sees each as
// rows / input_features() columns, in the same memory.
#pragma once

#include "loss.hpp"
#include "named_matrices.hpp"
#include "workers.hpp"

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace foldnorm::training {

// Fixed, not the number of cores: the split decides the order of the sums, so results depend on the seed alone.
inline constexpr int worker_count = 2;

template <real_scalar Scalar>
struct Samples {
  Matrix<Scalar> inputs;    // a column per sample
  std::vector<int> labels;  // one for every column of the model's output
};

template <class Model>
Eigen::Map<Matrix<typename Model::Scalar> const> as_input(Model const& model,
                                                          Matrix<typename Model::Scalar> const& samples) {
  return {samples.data(), model.input_features(), samples.size() / model.input_features()};
}

template <class Model>
class BatchGradients {
 public:
  using Scalar = typename Model::Scalar;

  // seed: of the random numbers that a model with dropout draws; others draw none.
  explicit BatchGradients(Model const& model, std::uint64_t seed = 1, int workers = worker_count)
      : workers_(static_cast<std::size_t>(workers)), seed_(seed) {
    for (Worker& worker : workers_) worker.gradients = zeros_like(model.parameters);
  }

  // Sums of the loss over the samples `chosen` of the data; gradients() then are those of the mean loss.
  template <class Data>
  LossSums compute(Model const& model, Data const& data, std::span<Index const> chosen) {
    Index const batch_size = static_cast<Index>(chosen.size());
    ++step_;
    int const count = static_cast<int>(workers_.size());
    run_workers(count, [&](int index) {
      Worker& worker = workers_[static_cast<std::size_t>(index)];
      Index const begin = batch_size * index / count, end = batch_size * (index + 1) / count;
      load_samples(data, chosen.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
                   worker.samples);
      if constexpr (requires { worker.activations.random; }) {
        std::seed_seq seeds{seed_, step_, static_cast<std::uint64_t>(index)};
        worker.activations.random.seed(seeds);
      }
      auto const x = as_input(model, worker.samples.inputs);
      Matrix<Scalar> const& logits = model.forward(x, worker.activations);
      Scalar const weight = static_cast<Scalar>(end - begin) /
                            static_cast<Scalar>(batch_size * static_cast<Index>(worker.samples.labels.size()));
      worker.sums = softmax_cross_entropy<Scalar>(logits, worker.samples.labels, weight, worker.dlogits);
      set_zero(worker.gradients);
      model.backward(x, worker.dlogits, worker.activations, worker.gradients);
    });
    LossSums sums;
    for (Worker const& worker : workers_) {
      if (&worker != &workers_[0]) add_to(workers_[0].gradients, worker.gradients);
      sums += worker.sums;
    }
    return sums;
  }

  NamedMatrices<Scalar>& gradients() { return workers_[0].gradients; }

  // Seconds that norms took, in all threads together, since the last call.
  double take_norm_seconds() {
    double seconds = 0;
    for (Worker& worker : workers_) seconds += Model::take_norm_seconds(worker.activations);
    return seconds;
  }

 private:
  struct Worker {
    Samples<Scalar> samples;
    Matrix<Scalar> dlogits;
    typename Model::Activations activations;
    NamedMatrices<Scalar> gradients;
    LossSums sums;
  };

  std::vector<Worker> workers_;
  std::uint64_t seed_, step_ = 0;
};

}  // namespace foldnorm::training
