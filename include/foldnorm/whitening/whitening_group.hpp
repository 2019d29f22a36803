// SPDX-License-Identifier: MIT
// foldnorm/whitening/whitening_group.hpp -- one group of features: from its scatter to a whitener, and both gradients.
//
//   t = tr(Sigma),  S = Sigma / t,  Xhat = Xc / sqrt(t)        Y = P Xhat,  so W = P / sqrt(t)
//   dX = (P^T (dY - mean(dY)) + (2 / nu) dS Xhat) / sqrt(t)    Xc has mean 0, and so has the second term
//
// where dS stands for t dSigma. With the trace taken out, every number between x and y is about 1 whatever the scale of
// x, in float as well; t itself is a double. A *method* gives P for S and dS for dP = dY Xhat^T: see iter_norm.hpp,
// spectral_transformation.hpp, pca.hpp and cholesky.hpp. Derived in docs/whitening.md.
#pragma once

#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/covariance.hpp>
#include <foldnorm/whitening/whitening_options.hpp>

#include <algorithm>
#include <cmath>

namespace foldnorm::detail {

// What a method is given, and what it fills.
template <real_scalar Scalar>
struct NormalizedCovariance {
  Matrix<Scalar> s;   // d x d, symmetric, trace 1
  double trace = 0;   // t
  Matrix<Scalar> p;   // d x d
  Matrix<Scalar> dp;  // d x d, by value of P; a method may overwrite it
  Matrix<Scalar> ds;  // d x d, symmetric
};

// For a P that is a function of S = Sigma / t: ds becomes complete by the way t depends on Sigma.
template <real_scalar Scalar>
void add_trace_gradient(double dp_dot_p, NormalizedCovariance<Scalar>& normalized) {
  double const ds_dot_s = static_cast<double>(normalized.ds.cwiseProduct(normalized.s).sum());
  normalized.ds.diagonal().array() -= static_cast<Scalar>(ds_dot_s + .5 * dp_dot_p);
}

template <class Method, real_scalar Scalar>
struct WhiteningGroup {
  Index begin = 0;          // first feature
  Index features = 0;       // d
  Matrix<Scalar> centered;  // d x m, times scale
  double scale = 1;         // a power of two; not 1 where the squares of floats would leave their range
  Matrix<Scalar> slice;     // scatter of some samples
  Matrix<double> scatter;   // d x d
  Matrix<double> sigma;     // regularized
  NormalizedCovariance<Scalar> normalized;
  typename Method::template State<Scalar> state;
  WhiteningReport report;
  Matrix<Scalar> by_y, by_x;       // d x d factors of a product with dy or x, and of one with centered
  Vector<Scalar> offset, dy_mean;  // d
  double deps = 0;

  // Xhat = unit() * centered.
  double unit() const { return 1 / (scale * std::sqrt(normalized.trace)); }
};

// Centers the group's features of x and finds their scatter about `mean`. Floats whose squares would overflow, or
// vanish where something is left of them, are scaled.
template <class Method, real_scalar Scalar>
void find_scatter(ConstMatrixRef<Scalar> const& x, ConstVectorRef<double> const& mean,
                  WhiteningGroup<Method, Scalar>& group) {
  group.centered.resize(x.rows(), x.cols());
  group.scatter.resize(x.rows(), x.rows());
  group.scale = 1;
  center_samples<Scalar>(x, mean, group.scale, group.centered);
  scatter_of_centered<Scalar>(group.centered, group.scale, group.slice, group.scatter);
  if constexpr (std::is_same_v<Scalar, float>) {
    constexpr double least = 1e-24, most = 1e30;  // squares of 1e-12 and 1e15: far from float's 1e-38 and 1e38
    double const trace = group.scatter.trace();
    if (trace >= least && trace <= most) return;
    double largest = 0;
    for (Index j = 0; j < x.cols(); ++j) {
      largest = std::max(largest, (x.col(j).template cast<double>() - mean).cwiseAbs().maxCoeff());
    }
    if (!(largest > 0 && std::isfinite(largest))) return;
    group.scale = std::ldexp(1.0, std::min(-std::ilogb(largest), 126));  // a float, for subnormals as well
    center_samples<Scalar>(x, mean, group.scale, group.centered);
    scatter_of_centered<Scalar>(group.centered, group.scale, group.slice, group.scatter);
  }
}

// From sigma to P. P is 0 where the covariance is: then the output and dx are.
template <class Method, real_scalar Scalar>
void find_whitener(Method const& method, WhiteningGroup<Method, Scalar>& group) {
  NormalizedCovariance<Scalar>& normalized = group.normalized;
  Index const d = group.sigma.rows();
  normalized.trace = group.sigma.trace();
  if (!std::isfinite(normalized.trace) || normalized.trace < 0) {
    group.report = {.status = WhiteningStatus::not_finite};
    return;
  }
  if (normalized.trace == 0) {
    normalized.trace = 1;
    normalized.p.setZero(d, d);
    group.report = {.status = WhiteningStatus::degenerate};
    return;
  }
  normalized.s = (group.sigma / normalized.trace).template cast<Scalar>();
  group.report = method.find_whitener(normalized, group.state);
  if (wrote_output(group.report.status) && !normalized.p.allFinite()) {
    group.report.status = WhiteningStatus::not_finite;
  }
}

// From dp = dY Xhat^T to ds, the gradient by Sigma0 times t; returns the gradient by eps.
template <class Method, real_scalar Scalar>
double find_covariance_gradient(Method const& method, CovarianceOptions const& options,
                                WhiteningGroup<Method, Scalar>& group) {
  NormalizedCovariance<Scalar>& normalized = group.normalized;
  if (group.report.status == WhiteningStatus::degenerate) {
    normalized.ds.setZero(normalized.p.rows(), normalized.p.rows());
    return 0;
  }
  method.find_covariance_gradient(normalized, group.state);
  return covariance_backward(options, group.sigma, 1 / normalized.trace, normalized.ds);
}

}  // namespace foldnorm::detail
