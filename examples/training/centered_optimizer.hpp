// SPDX-License-Identifier: MIT
// training/centered_optimizer.hpp -- any optimizer, of weights that are used centered: column-based weight centering
// (CBWC) for a network whose graph says what to center.
//
//   W = V - 1 colmean(V)   what the network runs with        dV = P dW   what the optimizer sees
//
// The optimizer changes V, which is kept here; or W itself, which is centered again after each step and follows the
// path of P V, if the optimizer is SGD, Adam or AdamW (foldnorm::center_parameters says why). Foldable LayerNorm,
// arXiv:2605.14521; one layer at a time, this is foldnorm::Centered.
#pragma once

#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/kernels/center.hpp>

#include "named_matrices.hpp"
#include "optimizer.hpp"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::training {

// P on each of the parts, rows of v. w may be v itself.
template <real_scalar Scalar>
void center_parts(std::vector<Interval> const& parts, Matrix<Scalar> const& v, Matrix<Scalar>& w) {
  for (Interval const& part : parts) {
    Index const rows = part.end - part.begin;
    center(v.middleRows(part.begin, rows), MatrixRef<Scalar>(w.middleRows(part.begin, rows)), Accuracy::fast);
  }
}

enum class Stored { apart, in_place };  // V beside W, or W alone

template <real_scalar Scalar>
class CenteredOptimizer {
 public:
  // Centers `parameters`, which from here on hold W.
  CenteredOptimizer(AnyOptimizer<Scalar> optimizer, std::vector<Centering> const& centerings,
                    NamedMatrices<Scalar>& parameters, Stored stored = Stored::apart)
      : optimizer_(std::move(optimizer)), stored_(stored) {
    for (Centering const& centering : centerings) {
      Matrix<Scalar>& w = parameters.at(centering.parameter);
      centered_[centering.parameter] = {centering.parts, stored == Stored::apart ? w : Matrix<Scalar>()};
      center_parts(centering.parts, w, w);
    }
  }

  // Centers the gradient, too. One parameter at a time: between the steps it is still in the cache.
  void update(std::string const& name, Matrix<Scalar>& w, Matrix<Scalar>& gradient, double rate) {
    auto const found = centered_.find(name);
    if (found == centered_.end()) return optimizer_.update(name, w, gradient, rate);
    auto& [parts, apart] = found->second;
    Matrix<Scalar>& v = stored_ == Stored::apart ? apart : w;
    center_parts(parts, gradient, gradient);
    optimizer_.update(name, v, gradient, rate);
    center_parts(parts, v, w);
  }

  // All parameters as the optimizer sees them.
  NamedMatrices<Scalar> stored(NamedMatrices<Scalar> parameters) const {
    for (auto const& [name, centered] : centered_) {
      if (stored_ == Stored::apart) parameters.at(name) = centered.v;
    }
    return parameters;
  }

 private:
  struct CenteredParameter {
    std::vector<Interval> parts;
    Matrix<Scalar> v;  // of no size where W is stored
  };

  AnyOptimizer<Scalar> optimizer_;
  Stored stored_;
  std::map<std::string, CenteredParameter> centered_;
};

}  // namespace foldnorm::training
