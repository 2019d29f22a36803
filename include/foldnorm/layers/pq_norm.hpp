// SPDX-License-Identifier: MIT
// foldnorm/layers/pq_norm.hpp -- (p,q)-normalization over groups of features as a layer, without parameters.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/pq_norm.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar_>
class PqNorm {
 public:
  using Scalar = Scalar_;

  // norm_size, features per group, divides features; else, and for options out of their range, std::invalid_argument.
  PqNorm(Index features, Index norm_size, PqNormOptions options = {})
      : features_(features), norm_size_(norm_size), options_(options) {
    detail::check_norm_size(norm_size, features, "PqNorm");
    detail::check_exponents(options.p, options.q, "PqNorm");
    check_epsilon(options.eps, "PqNorm");
  }

  Index in_features() const { return features_; }
  Index out_features() const { return features_; }
  Index norm_size() const { return norm_size_; }
  PqNormOptions const& options() const { return options_; }

  // x, y: features x n; y may be x. See kernels/pq_norm.hpp.
  void forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y) const {
    check_size(x.rows(), features_, "PqNorm::forward: features of x");
    pq_norm<Scalar>(x, norm_size_, options_, y);
  }

  // Writes dx (features x n; may be dy).
  void backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> dx,
                PqNorm& /*gradient*/) const {
    check_size(x.rows(), features_, "PqNorm::backward: features of x");
    pq_norm_backward<Scalar>(dy, x, norm_size_, options_, dx);
  }

  template <class Use>
  void for_each_parameter(Use const&) const {}

 private:
  Index features_, norm_size_;
  PqNormOptions options_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
