// SPDX-License-Identifier: MIT
// bench/peers/eigen_matrix.cpp -- plain Eigen, an expression at a time over the whole matrix.
#include "../implementation.hpp"
#include "eigen_views.hpp"

namespace bench {
namespace {

template <class X, class Y>
void standardize(X const& x, Y&& y) {
  y = x.rowwise() - x.colwise().mean();
  Row const rstd = (y.square().colwise().mean() + eps).rsqrt();
  y = y.rowwise() * rstd;
}

template <class V, class X>
void layer_norm(V& v, X const& x) {
  v.y = x.rowwise() - x.colwise().mean();
  Row const rstd = (v.y.square().colwise().mean() + eps).rsqrt();
  v.y = ((v.y.rowwise() * rstd).colwise() * v.gamma).colwise() + v.beta;
}

template <class V, class X>
void rms_norm(V& v, X const& x) {
  Row const rstd = (x.square().colwise().mean() + eps).rsqrt();
  v.y = (x.rowwise() * rstd).colwise() * v.gamma;
}

Run backward(Views<float> v, bool rms) {
  Row mean = Row::Zero(v.x.cols());
  if (!rms) mean = v.x.colwise().mean();
  Row const rstd = ((v.x.rowwise() - mean).square().colwise().mean() + eps).rsqrt();
  Eigen::ArrayXXf xhat(v.x.rows(), v.x.cols());
  Row mean_g(v.x.cols()), mean_product(v.x.cols());
  return [=]() mutable {
    if (rms)
      xhat = v.x.rowwise() * rstd;
    else
      xhat = (v.x.rowwise() - mean).rowwise() * rstd;
    v.dgamma = (v.dy * xhat).rowwise().sum();
    v.dx = v.dy.colwise() * v.gamma;
    mean_product = (v.dx * xhat).colwise().mean();
    if (rms) {
      v.dx = (v.dx - xhat.rowwise() * mean_product).rowwise() * rstd;
    } else {
      v.dbeta = v.dy.rowwise().sum();
      mean_g = v.dx.colwise().mean();
      v.dx = ((v.dx.rowwise() - mean_g) - xhat.rowwise() * mean_product).rowwise() * rstd;
    }
  };
}

Run prepare(Problem& p) {
  if (p.what.scalar != Scalar::f32) return {};
  Views<float> v(p);
  switch (p.what.operation) {
    case Operation::layer_norm:
      return [v]() mutable { layer_norm(v, v.x); };
    case Operation::rms_norm:
      return [v]() mutable { rms_norm(v, v.x); };
    case Operation::layer_norm_backward:
      return backward(v, false);
    case Operation::rms_norm_backward:
      return backward(v, true);
    case Operation::add_layer_norm:
      return [v]() mutable {
        v.s = v.x + residual_scale * v.r;
        layer_norm(v, v.s);
      };
    case Operation::add_rms_norm:
      return [v]() mutable {
        v.s = v.x + residual_scale * v.r;
        rms_norm(v, v.s);
      };
    case Operation::parallel_layer_norm:
      return [v]() mutable {
        standardize(groups(v.x), groups(v.y));
        v.y = (v.y.colwise() * v.gamma).colwise() + v.beta;
      };
  }
  return {};
}

}  // namespace

Library eigen_matrix() {
  std::string const version = std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
                              std::to_string(EIGEN_MINOR_VERSION);
  return {"Eigen " + version, {{"Eigen", prepare}}};
}

}  // namespace bench
