// SPDX-License-Identifier: MIT
// foldnorm/layers/norm_layer.hpp -- the layer that every norm per sample is: a kernel over groups of norm_size
// features, with gamma and beta of its own.
//
//   LayerNorm, RMSNorm                            norm_size = features
//   ParallelLayerNorm, ParallelLayerScaling       PLN and PLS: norm_size is the caller's
//
// are names for it (layer_norm.hpp, rms_norm.hpp, parallel_layer_norm.hpp): one group is the plain norm, and groups of
// one feature and no eps are the sign.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>
#include <foldnorm/kernels/parallel_layer_norm.hpp>

#include <string_view>

namespace foldnorm::inline FOLDNORM_ABI {

enum class NormKind { layer_norm, rms_norm };

struct NormOptions {
  double eps = 1e-5;   // >= 0; inside the root
  bool affine = true;  // are gamma and beta parameters, or 1 and 0 for good?
  Accuracy accuracy = Accuracy::fast;
};

template <real_scalar Scalar_, NormKind kind_>
class NormLayer {
 public:
  using Scalar = Scalar_;
  using Statistics = NormStatistics<Scalar>;
  static constexpr NormKind kind = kind_;

  // features values each; 1 and 0 until the caller changes them. Without `affine` they are passed to the kernel all the
  // same, which is one instantiation of it instead of two (some 3 s of compilation each).
  Vector<Scalar> gamma, beta;

  // Throws std::invalid_argument if norm_size (features per group) does not divide features, or for a bad eps.
  NormLayer(Index features, Index norm_size, NormOptions options = {}) : norm_size_(norm_size), options_(options) {
    detail::check_norm_size(norm_size, checked_not_negative(features, "NormLayer: features"), "NormLayer");
    check_epsilon(options.eps, "NormLayer");
    gamma.setOnes(features);
    beta.setZero(features);
  }
  // One group.
  explicit NormLayer(Index features, NormOptions options = {}) : NormLayer(features, features, options) {}

  Index in_features() const { return gamma.size(); }
  Index out_features() const { return gamma.size(); }
  Index norm_size() const { return norm_size_; }
  Index groups() const { return in_features() / norm_size_; }
  NormOptions const& options() const { return options_; }

  // x, y: features x n; y may be x. See kernels/parallel_layer_norm.hpp.
  void forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y) const;
  // The same, and keeps what backward needs.
  void forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y, Statistics& statistics) const;

  // Writes dx (features x n; may be dy) and adds to the gradient's gamma and beta, if they are parameters. x and
  // statistics are the forward's.
  void backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x, Statistics const& statistics,
                MatrixRef<Scalar> dx, NormLayer& gradient) const {
    if (options_.affine) {
      backward(dy, x, statistics, dx, gradient.gamma, gradient.beta);
    } else {
      backward(dy, x, statistics, dx, none, none);
    }
  }

  // Throws shape_error for statistics of another layer's forward, or of another number of columns of x.
  void check_statistics(Statistics const& statistics, Index columns) const {
    check_size(statistics.features, in_features(), "NormLayer: features of the statistics");
    check_size(statistics.norm_size, norm_size_, "NormLayer: norm_size of the statistics");
    check_size(static_cast<Index>(statistics.samples.size()), groups() * columns,
               "NormLayer: samples of the statistics");
  }

  // Calls use(name, vector) for what training changes.
  template <class Use>
  void for_each_parameter(Use const& use) {
    if (options_.affine) use("gamma", gamma), use("beta", beta);
  }
  template <class Use>
  void for_each_parameter(Use const& use) const {
    if (options_.affine) use("gamma", gamma), use("beta", beta);
  }

 private:
  Scalar eps() const { return static_cast<Scalar>(options_.eps); }

  void backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x, Statistics const& statistics,
                MatrixRef<Scalar> dx, OptionalOutput<Scalar> const& dgamma, OptionalOutput<Scalar> const& dbeta) const;

  Index norm_size_;
  NormOptions options_;
};

// Outside of the class, and so not inline: whoever has explicit instances does not compile the kernels again.
template <real_scalar Scalar, NormKind kind_>
void NormLayer<Scalar, kind_>::forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y) const {
  check_size(x.rows(), in_features(), "NormLayer::forward: features of x");
  if constexpr (kind == NormKind::layer_norm) {
    parallel_layer_norm(x, norm_size_, gamma, beta, eps(), y, options_.accuracy);
  } else {
    parallel_layer_scaling(x, norm_size_, gamma, beta, eps(), y, options_.accuracy);
  }
}

template <real_scalar Scalar, NormKind kind_>
void NormLayer<Scalar, kind_>::forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y,
                                       Statistics& statistics) const {
  check_size(x.rows(), in_features(), "NormLayer::forward: features of x");
  if constexpr (kind == NormKind::layer_norm) {
    parallel_layer_norm(x, norm_size_, gamma, beta, eps(), y, statistics, options_.accuracy);
  } else {
    parallel_layer_scaling(x, norm_size_, gamma, beta, eps(), y, statistics, options_.accuracy);
  }
}

template <real_scalar Scalar, NormKind kind_>
void NormLayer<Scalar, kind_>::backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x,
                                        Statistics const& statistics, MatrixRef<Scalar> dx,
                                        OptionalOutput<Scalar> const& dgamma,
                                        OptionalOutput<Scalar> const& dbeta) const {
  check_statistics(statistics, x.cols());
  BackwardOptions const adding{.accuracy = options_.accuracy, .add_to_parameters = true};
  if constexpr (kind == NormKind::layer_norm) {
    parallel_layer_norm_backward(dy, x, gamma, statistics, dx, dgamma, dbeta, adding);
  } else {
    parallel_layer_scaling_backward(dy, x, gamma, statistics, dx, dgamma, dbeta, adding);
  }
}

}  // namespace foldnorm::inline FOLDNORM_ABI
