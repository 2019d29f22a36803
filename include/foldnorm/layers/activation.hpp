// SPDX-License-Identifier: MIT
// foldnorm/layers/activation.hpp -- an element-wise activation as a layer, without parameters.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/activation.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar_>
class Activation {
 public:
  using Scalar = Scalar_;

  Activation(Index features, ActivationKind kind)
      : features_(checked_not_negative(features, "Activation: features")), kind_(kind) {}

  Index in_features() const { return features_; }
  Index out_features() const { return features_; }
  ActivationKind kind() const { return kind_; }

  // x, y: features x n; y may be x.
  void forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y) const {
    check_size(x.rows(), features_, "Activation::forward: features of x");
    activate<Scalar>(kind_, x, y);
  }

  // Writes dx (features x n; may be dy).
  void backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> dx,
                Activation& /*gradient*/) const {
    check_size(x.rows(), features_, "Activation::backward: features of x");
    activate_backward<Scalar>(kind_, dy, x, dx);
  }

  template <class Use>
  void for_each_parameter(Use const&) const {}

 private:
  Index features_;
  ActivationKind kind_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
