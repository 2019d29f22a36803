// SPDX-License-Identifier: MIT
// training/centered_optimizer.hpp -- any optimizer, of weights that are used centered: column-based weight centering
// (CBWC) for a network whose graph says what to center.
//
//   W = V - 1 colmean(V)   what the network runs with        dV = P dW   what the optimizer sees
//
// The optimizer changes V, which is kept here. Foldable LayerNorm, arXiv:2605.14521; one layer at a time, this is
// foldnorm::Centered.
#pragma once

#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/kernels/center.hpp>

#include "named_matrices.hpp"
#include "optimizer.hpp"

#include <utility>
#include <vector>

namespace foldnorm::training {

template <real_scalar Scalar>
void center_named(std::vector<Centering> const& centerings, NamedMatrices<Scalar> const& from,
                  NamedMatrices<Scalar>& to) {
  for (Centering const& centering : centerings) {
    Matrix<Scalar> const& v = from.at(centering.parameter);
    Matrix<Scalar>& w = to.at(centering.parameter);
    for (Interval const& part : centering.parts) {
      Index const rows = part.end - part.begin;
      center(v.middleRows(part.begin, rows), MatrixRef<Scalar>(w.middleRows(part.begin, rows)), Accuracy::fast);
    }
  }
}

template <real_scalar Scalar>
class CenteredOptimizer {
 public:
  // Centers `parameters`, which from here on hold W, and keeps V.
  CenteredOptimizer(Update<Scalar> optimizer, std::vector<Centering> centerings, NamedMatrices<Scalar>& parameters)
      : optimizer_(std::move(optimizer)), centerings_(std::move(centerings)) {
    for (Centering const& centering : centerings_) {
      stored_[centering.parameter] = parameters.at(centering.parameter);
    }
    center_named(centerings_, stored_, parameters);
  }

  // Centers the gradients, too.
  void update(NamedMatrices<Scalar>& parameters, NamedMatrices<Scalar>& gradients, double rate) {
    center_named(centerings_, gradients, gradients);
    exchange(parameters);
    optimizer_(parameters, gradients, rate);
    exchange(parameters);
    center_named(centerings_, stored_, parameters);
  }

  // All parameters as the optimizer sees them.
  NamedMatrices<Scalar> stored(NamedMatrices<Scalar> parameters) const {
    for (auto const& [name, v] : stored_) parameters.at(name) = v;
    return parameters;
  }

 private:
  void exchange(NamedMatrices<Scalar>& parameters) {
    for (auto& [name, v] : stored_) v.swap(parameters.at(name));
  }

  Update<Scalar> optimizer_;
  std::vector<Centering> centerings_;
  NamedMatrices<Scalar> stored_;  // V of what is centered
};

}  // namespace foldnorm::training
