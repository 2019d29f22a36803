// SPDX-License-Identifier: MIT
// training/embedding_measures.hpp -- has an embedding collapsed? Its spectrum, and how alike its samples are.
//
// Each measure alone can be fooled: a collapsed embedding may keep a broad spectrum around its one direction, so read
// the participation ratio together with the cosine.
#pragma once

#include <foldnorm/kernels/covariance.hpp>

#include <Eigen/Eigenvalues>

#include <algorithm>

namespace foldnorm::training {

struct EmbeddingMeasures {
  Vector<double> spectrum;   // eigenvalues of the covariance over their sum, the largest first
  double participation = 0;  // (sum l)^2 / sum l^2: about how many directions are in use
  double cosine = 0;         // mean over pairs of different samples
};

// z: features x samples, at least two samples.
inline EmbeddingMeasures measure_embedding(Matrix<float> const& z) {
  BatchStatistics const statistics = batch_statistics(z);
  Eigen::SelfAdjointEigenSolver<Matrix<double>> const solver(statistics.scatter, Eigen::EigenvaluesOnly);
  EmbeddingMeasures measures;
  measures.spectrum = solver.eigenvalues().reverse().cwiseMax(0);
  double const sum = measures.spectrum.sum();
  if (sum > 0) measures.spectrum /= sum;
  double const squares = measures.spectrum.squaredNorm();
  measures.participation = squares > 0 ? 1 / squares : 0;
  Vector<double> sum_of_units = Vector<double>::Zero(z.rows());
  for (Index j = 0; j < z.cols(); ++j) sum_of_units += z.col(j).cast<double>().normalized();
  auto const n = static_cast<double>(z.cols());
  measures.cosine = (sum_of_units.squaredNorm() - n) / (n * (n - 1));
  return measures;
}

}  // namespace foldnorm::training
