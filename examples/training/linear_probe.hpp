// SPDX-License-Identifier: MIT
// training/linear_probe.hpp -- how much a linear classifier finds in frozen features: the usual judge of features.
#pragma once

#include "loss.hpp"
#include "optimizer.hpp"
#include "trainer.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <span>
#include <vector>

namespace foldnorm::training {

struct LabelledFeatures {
  Matrix<float> features;  // a sample a column
  std::vector<int> labels;
};

// Scales every feature to mean 0 and deviation 1 over `fitted`, in all of the sets alike.
inline void standardize(LabelledFeatures const& fitted, std::span<LabelledFeatures* const> sets) {
  auto const count = static_cast<float>(fitted.features.cols());
  Vector<float> const mean = fitted.features.rowwise().mean();
  Vector<float> const variance = (fitted.features.colwise() - mean).cwiseAbs2().rowwise().sum() / count;
  Vector<float> const scale = (variance.array() + 1e-8f).rsqrt();  // a feature that never varies stays 0
  for (LabelledFeatures* const set : sets) {
    set->features.colwise() -= mean;
    set->features.array().colwise() *= scale.array();
  }
}

struct ProbeSettings {
  int epochs = 10;
  Index batch_size = 500;
  double rate = 3e-3;
  float l2 = 0;  // adds l2 / 2 ||W||^2 to the mean cross-entropy
};

// Softmax regression by Adam under a cosine rate: classes x (features + 1), the bias in the last column.
inline Matrix<float> train_probe(LabelledFeatures const& train, ProbeSettings const& settings, std::uint64_t seed) {
  Index const features = train.features.rows(), samples = train.features.cols();
  NamedMatrices<float> w{{"w", Matrix<float>::Zero(image_classes, features)},
                         {"b", Matrix<float>::Zero(image_classes, 1)}};
  AdamW<float> optimizer(w, {.beta2 = 0.999f, .decay = 0});
  NamedMatrices<float> gradients = zeros_like(w);
  std::mt19937_64 random(seed);
  std::vector<Index> order(static_cast<std::size_t>(samples));
  std::iota(order.begin(), order.end(), Index{0});
  Index const batch = std::min(settings.batch_size, samples), batches = samples / batch;
  Matrix<float> x(features, batch), logits, dlogits;
  std::vector<int> labels(static_cast<std::size_t>(batch));
  for (int epoch = 0; epoch < settings.epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), random);
    for (Index b = 0; b < batches; ++b) {
      for (Index j = 0; j < batch; ++j) {
        Index const sample = order[static_cast<std::size_t>(b * batch + j)];
        x.col(j) = train.features.col(sample);
        labels[static_cast<std::size_t>(j)] = train.labels[static_cast<std::size_t>(sample)];
      }
      logits.noalias() = w.at("w") * x;
      logits.colwise() += w.at("b").col(0);
      softmax_cross_entropy(logits, labels, 1 / static_cast<float>(batch), dlogits);
      gradients.at("w").noalias() = dlogits * x.transpose();
      gradients.at("w") += settings.l2 * w.at("w");
      gradients.at("b") = dlogits.rowwise().sum();
      double const progress = (epoch + static_cast<double>(b) / static_cast<double>(batches)) / settings.epochs;
      update_all(optimizer, w, gradients, warmup_cosine(progress, settings.rate, 0.05));
    }
  }
  Matrix<float> probe(image_classes, features + 1);
  probe << w.at("w"), w.at("b");
  return probe;
}

inline double probe_accuracy(Matrix<float> const& probe, LabelledFeatures const& set) {
  Matrix<float> logits = probe.leftCols(probe.cols() - 1) * set.features;
  logits.colwise() += probe.col(probe.cols() - 1);
  return accuracy(logits, set.labels);
}

struct ProbeScore {
  double validation = 0, test = 0;
};

// The best of several l2 on the validation set, and what that one scores on the test set.
inline ProbeScore probe_score(LabelledFeatures const& train, LabelledFeatures const& validation,
                              LabelledFeatures const& test, ProbeSettings settings, std::span<float const> l2,
                              std::uint64_t seed) {
  ProbeScore best;
  for (float const strength : l2) {
    settings.l2 = strength;
    Matrix<float> const probe = train_probe(train, settings, seed);
    double const found = probe_accuracy(probe, validation);
    if (found > best.validation) best = {found, probe_accuracy(probe, test)};
  }
  return best;
}

// `count` samples of each class, or all there are, drawn at random.
inline LabelledFeatures few_labels(LabelledFeatures const& all, Index count, std::mt19937_64& random) {
  std::vector<Index> order(all.labels.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::shuffle(order.begin(), order.end(), random);
  LabelledFeatures few{Matrix<float>(all.features.rows(), count * image_classes), {}};
  std::vector<Index> taken(image_classes);
  for (Index const sample : order) {
    auto const label = all.labels[static_cast<std::size_t>(sample)];
    if (taken[static_cast<std::size_t>(label)]++ >= count) continue;
    few.features.col(static_cast<Index>(few.labels.size())) = all.features.col(sample);
    few.labels.push_back(label);
  }
  few.features.conservativeResize(Eigen::NoChange, static_cast<Index>(few.labels.size()));
  return few;
}

}  // namespace foldnorm::training
