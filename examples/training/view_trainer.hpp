// SPDX-License-Identifier: MIT
// training/view_trainer.hpp -- self-supervised training: two random views of each image, and a loss of their
// embeddings.
#pragma once

#include "augmentation.hpp"
#include "mlp.hpp"
#include "trainer.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <vector>

namespace foldnorm::training {

// A loss of two views; gradients are written beside it.
struct ViewLoss {
  double value = 0;
  double alignment = 0;
  double excess = 0;  // mean trace loss of a view above its floor; 0 without one
};

struct ViewTraining {
  ViewLoss last_epoch;         // means
  double view_difference = 0;  // mean |difference| of the two views' pixels, in the last batch
};

// One worker a view, so results depend on the seed alone. `loss(views, dviews)` returns a ViewLoss of the embeddings
// (features x batch each) and resizes and fills dviews; `report(epochs_done, loss)` hears the means over the current
// epoch after every batch.
template <class Optimizer, class RateAt, class Loss, class Report>
ViewTraining train_on_views(Mlp<float>& model, ImageSet const& images, TrainingPlan plan, Optimizer optimizer,
                            RateAt const& rate_at, std::uint64_t seed, Loss loss, Report const& report) {
  struct Worker {
    Augmentation augmentation;
    Matrix<float> pixels;
    Mlp<float>::Activations activations;
    NamedMatrices<float> gradients;
  };
  std::array<Worker, 2> workers{Worker{Augmentation(seed, 1), {}, {}, zeros_like(model.parameters)},
                                Worker{Augmentation(seed, 2), {}, {}, zeros_like(model.parameters)}};
  std::array<Matrix<float>, 2> views, dviews;
  std::mt19937_64 random(seed);
  std::vector<Index> order(static_cast<std::size_t>(images.size()));
  std::iota(order.begin(), order.end(), Index{0});
  Index const batches = images.size() / plan.batch_size;
  ViewTraining result;
  for (int epoch = 0; epoch < plan.epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), random);
    ViewLoss sums;
    for (Index batch = 0; batch < batches; ++batch) {
      auto const chosen = std::span<Index const>(order).subspan(static_cast<std::size_t>(batch * plan.batch_size),
                                                                static_cast<std::size_t>(plan.batch_size));
      run_workers(2, [&](int index) {
        auto const i = static_cast<std::size_t>(index);
        Worker& worker = workers[i];
        worker.augmentation(images, chosen, worker.pixels);
        views[i] = model.forward(worker.pixels, worker.activations);
      });
      ViewLoss const batch_loss = loss(std::span<Matrix<float> const>(views), std::span<Matrix<float>>(dviews));
      run_workers(2, [&](int index) {
        auto const i = static_cast<std::size_t>(index);
        set_zero(workers[i].gradients);
        model.backward(workers[i].pixels, dviews[i], workers[i].activations, workers[i].gradients);
      });
      add_to(workers[0].gradients, workers[1].gradients);
      double const epochs_done = epoch + static_cast<double>(batch + 1) / static_cast<double>(batches);
      update_all(optimizer, model.parameters, workers[0].gradients, rate_at(epochs_done / plan.epochs));
      sums.value += batch_loss.value;
      sums.alignment += batch_loss.alignment;
      sums.excess += batch_loss.excess;
      auto const seen = static_cast<double>(batch + 1);
      result.last_epoch = {sums.value / seen, sums.alignment / seen, sums.excess / seen};
      report(epochs_done, result.last_epoch);
    }
  }
  result.view_difference = (workers[0].pixels - workers[1].pixels).cwiseAbs().mean();
  return result;
}

}  // namespace foldnorm::training
