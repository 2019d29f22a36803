// SPDX-License-Identifier: MIT
// foldnorm/whitening/inference_whitening.hpp -- a whitening layer with its statistics fixed: an affine map per group.
//
//   y = A (x - mean) + beta,   A = diag(gamma) W        dx = A^T dy
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/affine_map.hpp>
#include <foldnorm/kernels/covariance.hpp>

#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar>
class InferenceWhitening {
 public:
  // One matrix per group, contiguous groups in their order; mean, beta: over all features.
  InferenceWhitening(std::vector<Matrix<Scalar>> matrices, Vector<double> mean, Vector<Scalar> beta)
      : matrices_(std::move(matrices)), mean_(std::move(mean)), beta_(std::move(beta)) {
    Index features = 0;
    for (Matrix<Scalar> const& a : matrices_) {
      check_same_shape(a, a.transpose(), "InferenceWhitening: matrices");
      features += a.rows();
    }
    check_size(mean_.size(), features, "InferenceWhitening: mean");
    check_size(beta_.size(), features, "InferenceWhitening: beta");
  }

  Index features() const { return mean_.size(); }

  // y: features x samples, like x; may be x. The mean goes first, so that large means lose nothing. Allocates a copy of
  // x's largest group.
  void forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y) const {
    check_size(x.rows(), features(), "InferenceWhitening::forward: features of x");
    check_same_shape(x, y, "InferenceWhitening::forward: x, y");
    check_no_partial_overlap(x, y, "InferenceWhitening::forward: x, y");
    Matrix<Scalar> centered;
    for_each_group([&](Matrix<Scalar> const& a, Index begin) {
      Index const d = a.rows();
      centered.resize(d, x.cols());
      detail::center_samples<Scalar>(x.middleRows(begin, d), mean_.segment(begin, d), 1, centered);
      y.middleRows(begin, d).colwise() = beta_.segment(begin, d);
      y.middleRows(begin, d).noalias() += a * centered;
    });
  }

  // dx: features x samples, like dy, apart from it.
  void backward(ConstMatrixRef<Scalar> const& dy, MatrixRef<Scalar> dx) const {
    check_size(dy.rows(), features(), "InferenceWhitening::backward: features of dy");
    check_same_shape(dy, dx, "InferenceWhitening::backward: dy, dx");
    check_apart(dy, dx, "InferenceWhitening::backward: dy, dx");
    for_each_group([&](Matrix<Scalar> const& a, Index begin) {
      dx.middleRows(begin, a.rows()).noalias() = a.transpose() * dy.middleRows(begin, a.rows());
    });
  }

  // The same map for all features at once, to be folded into a linear layer: block diagonal, features x features.
  AffineMap<Scalar> affine_map() const {
    AffineMap<Scalar> map{.matrix = Matrix<Scalar>::Zero(features(), features()), .bias = beta_};
    for_each_group([&](Matrix<Scalar> const& a, Index begin) {
      Index const d = a.rows();
      map.matrix.block(begin, begin, d, d) = a;
      map.bias.segment(begin, d) -= (a.template cast<double>() * mean_.segment(begin, d)).template cast<Scalar>();
    });
    return map;
  }

 private:
  template <class Use>
  void for_each_group(Use const& use) const {
    Index begin = 0;
    for (Matrix<Scalar> const& a : matrices_) {
      use(a, begin);
      begin += a.rows();
    }
  }

  std::vector<Matrix<Scalar>> matrices_;
  Vector<double> mean_;
  Vector<Scalar> beta_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
