// SPDX-License-Identifier: MIT
// training/loss.hpp -- softmax cross-entropy of logits against labels, and the count of right predictions.
#pragma once

#include <foldnorm/core/types.hpp>

#include <cmath>
#include <span>
#include <vector>

namespace foldnorm::training {

struct LossSums {
  double loss = 0;  // summed over the samples, in nats
  Index correct = 0;
  Index samples = 0;

  double mean_loss() const { return loss / static_cast<double>(samples); }
  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(samples); }
  LossSums& operator+=(LossSums const& other) {
    loss += other.loss;
    correct += other.correct;
    samples += other.samples;
    return *this;
  }
};

// The class with the largest logit of each column (the first of equals).
template <class Logits>
std::vector<Index> predictions(Eigen::MatrixBase<Logits> const& logits) {
  std::vector<Index> classes(static_cast<std::size_t>(logits.cols()));
  for (Index j = 0; j < logits.cols(); ++j) logits.col(j).maxCoeff(&classes[static_cast<std::size_t>(j)]);
  return classes;
}

// logits: classes x n; labels: n values in [0, classes). dlogits (resized) is the gradient of `weight` times the summed
// loss: weight * (softmax(logits) - one_hot(labels)).
template <real_scalar Scalar>
LossSums softmax_cross_entropy(Matrix<Scalar> const& logits, std::span<int const> labels, Scalar weight,
                               Matrix<Scalar>& dlogits) {
  LossSums sums{.samples = logits.cols()};
  dlogits.resize(logits.rows(), logits.cols());
  for (Index j = 0; j < logits.cols(); ++j) {
    Index const label = labels[static_cast<std::size_t>(j)];
    Index predicted = 0;
    Scalar const largest = logits.col(j).maxCoeff(&predicted);
    dlogits.col(j) = (logits.col(j).array() - largest).exp();
    Scalar const sum = dlogits.col(j).sum();
    sums.loss += std::log(static_cast<double>(sum)) - static_cast<double>(logits(label, j) - largest);
    sums.correct += predicted == label;
    dlogits.col(j) *= weight / sum;
    dlogits(label, j) -= weight;
  }
  return sums;
}

}  // namespace foldnorm::training
