// SPDX-License-Identifier: MIT
// foldnorm/kernels/pq_norm.hpp -- (p,q)-normalization: RMS normalization with other exponents, over groups of features;
// and the activation that belongs to it.
//
//   h = x, or x - mean(x);   M = mean(|h|^p) + eps;   r = p/q
//   y    = sign(h) |h|^r / M^(1/q),   so that mean |y|^q = 1 (eps = 0)
//   dh_j = r |h_j|^(r-1) M^(-1/q) dy_j - p/(q d M) sign(h_j) |h_j|^(p-1) sum_i dy_i y_i
//   phi(x) = sign(x) |x|^r / (|x|^p + 1)^(1/q)
//
// p = q = 2 is parallel_layer_scaling (centered: parallel_layer_norm) and x / sqrt(1 + x^2). Plain loops with two
// powers an entry: some ten times the cost of those kernels. Means run over a group; its d features lie next to each
// other. Ni et al., arXiv:2505.13142; the gradient was derived for this library.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/detail/moments.hpp>
#include <foldnorm/kernels/detail/normalize.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace foldnorm::inline FOLDNORM_ABI {

struct PqNormOptions {
  double p = 2, q = 2;  // > 0, finite
  double eps = 1e-5;    // >= 0
  bool center = false;
};

namespace detail {

inline void check_exponents(double p, double q, char const* function) {
  if (!(p > 0 && q > 0 && std::isfinite(p) && std::isfinite(q))) {
    detail::raise<std::invalid_argument>(std::string(function) + ": p is " + std::to_string(p) + " and q is " +
                                         std::to_string(q) + ", expected finite numbers > 0");
  }
}

// One group: its deviations h = centered x / scale, and their moment. The scale, the largest of |h| and eps^(1/p),
// keeps both terms of the moment within [0, 1]: powers of x itself would overflow.
struct PqGroup {
  SampleStatistics center;  // mean and scale of x, if it is centered
  double scale = 1;         // of what center leaves
  double moment = 0;        // mean(|h|^p) + eps / scale^p; 0 where y is 0 by definition

  template <class Group>
  PqGroup(Group const& x, PqNormOptions const& options) {
    if (options.center) center = mean_of_sample(x, x.size());
    double const smallest = std::pow(options.eps, 1 / options.p) * center.scale;
    scale = smallest;
    for (auto value : x) {
      double const magnitude = std::abs(detail::deviation(value, center));
      if (!(magnitude <= scale)) scale = magnitude;
      if (std::isnan(scale)) break;  // no later value may take its place
    }
    if (scale == 0) {
      scale = 1;
      return;
    }
    for (auto value : x) moment += std::pow(std::abs(deviation(value)), options.p);
    moment = moment / static_cast<double>(x.size()) + std::pow(smallest / scale, options.p);
  }
  double deviation(auto value) const { return detail::deviation(value, center) / scale; }
  double slope() const { return center.scale / scale; }  // of a deviation by its value
};

}  // namespace detail

// x, y: n x m; y may be x, any other overlap throws; norm_size divides n. All arithmetic is in double. A group of zeros
// (centered: a constant one) gives 0, for eps = 0 as well; NaN or inf spoils its own group.
template <real_scalar Scalar>
void pq_norm(ConstMatrixRef<Scalar> const& x, Index norm_size, PqNormOptions const& options, MatrixRef<Scalar> y) {
  detail::check_exponents(options.p, options.q, "pq_norm");
  check_epsilon(options.eps, "pq_norm");
  detail::check_norm_size(norm_size, x.rows(), "pq_norm");
  check_same_shape(x, y, "pq_norm: x, y");
  check_no_partial_overlap(x, y, "pq_norm: x, y");
  double const ratio = options.p / options.q;
  for (Index j = 0; j < x.cols(); ++j) {
    for (Index begin = 0; begin < x.rows(); begin += norm_size) {
      detail::PqGroup const group(x.col(j).segment(begin, norm_size), options);
      double const gain = group.moment == 0 ? 0 : std::pow(group.moment, -1 / options.q);
      for (Index i = begin; i < begin + norm_size; ++i) {
        double const h = group.deviation(x(i, j));
        y(i, j) = static_cast<Scalar>(std::copysign(std::pow(std::abs(h), ratio) * gain, h));
      }
    }
  }
}

// From dy and the forward's x to dx (n x m each; dx may be dy or x). Where p < q the slope at h = 0 is infinite, and so
// is that of |h|^p for p < 1: |h| is taken to be at least 1e-12 of the group's largest there. sign(0) = 0. A group
// whose y is 0 by definition has gradient 0.
template <real_scalar Scalar>
void pq_norm_backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x, Index norm_size,
                      PqNormOptions const& options, MatrixRef<Scalar> dx) {
  detail::check_exponents(options.p, options.q, "pq_norm_backward");
  check_epsilon(options.eps, "pq_norm_backward");
  detail::check_norm_size(norm_size, x.rows(), "pq_norm_backward");
  check_same_shape(dy, x, "pq_norm_backward: dy, x");
  check_same_shape(x, dx, "pq_norm_backward: x, dx");
  check_no_partial_overlap(dy, dx, "pq_norm_backward: dy, dx");
  check_no_partial_overlap(x, dx, "pq_norm_backward: x, dx");
  auto const [p, q, eps, center] = options;
  double const ratio = p / q;
  Vector<double> dh(norm_size);
  for (Index j = 0; j < x.cols(); ++j) {
    for (Index begin = 0; begin < x.rows(); begin += norm_size) {
      detail::PqGroup const group(x.col(j).segment(begin, norm_size), options);
      if (group.moment == 0) {
        dx.col(j).segment(begin, norm_size).setZero();
        continue;
      }
      double const gain = std::pow(group.moment, -1 / q);
      double dy_dot_y = 0;
      for (Index i = 0; i < norm_size; ++i) {
        double const h = group.deviation(x(begin + i, j));
        dy_dot_y += static_cast<double>(dy(begin + i, j)) * std::copysign(std::pow(std::abs(h), ratio) * gain, h);
      }
      double const common = p / (q * static_cast<double>(norm_size) * group.moment) * dy_dot_y;
      for (Index i = 0; i < norm_size; ++i) {
        double const h = group.deviation(x(begin + i, j));
        double const magnitude = std::max(std::abs(h), 1e-12);
        dh[i] = ratio * std::pow(ratio < 1 ? magnitude : std::abs(h), ratio - 1) * gain *
                    static_cast<double>(dy(begin + i, j)) -
                (h == 0 ? 0 : common * std::copysign(std::pow(p < 1 ? magnitude : std::abs(h), p - 1), h));
      }
      if (center) dh.array() -= dh.mean();
      dx.col(j).segment(begin, norm_size) = (dh * group.slope()).template cast<Scalar>();
    }
  }
}

// The activation phi, entry by entry; x, y: n x m; y may be x. +-1 for large |x| if p, q > 0.
template <real_scalar Scalar>
void pq_activation(ConstMatrixRef<Scalar> const& x, double p, double q, MatrixRef<Scalar> y) {
  detail::check_exponents(p, q, "pq_activation");
  check_same_shape(x, y, "pq_activation: x, y");
  check_no_partial_overlap(x, y, "pq_activation: x, y");
  y = x.unaryExpr([p, q](Scalar value) {
    double const magnitude = std::abs(static_cast<double>(value));
    double const result = magnitude <= 1 ? std::pow(magnitude, p / q) * std::pow(1 + std::pow(magnitude, p), -1 / q)
                                         : std::pow(1 + std::pow(magnitude, -p), -1 / q);  // no power overflows
    return static_cast<Scalar>(std::copysign(result, static_cast<double>(value)));
  });
}

// dx = dy phi'(x),   phi'(x) = (p/q) |x|^(p/q-1) (1 + |x|^p)^(-1/q-1); at x = 0 its limit: 0 for p > q, 1 for p = q,
// and infinite for p < q.
template <real_scalar Scalar>
void pq_activation_backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x, double p, double q,
                            MatrixRef<Scalar> dx) {
  detail::check_exponents(p, q, "pq_activation_backward");
  check_same_shape(dy, x, "pq_activation_backward: dy, x");
  check_same_shape(x, dx, "pq_activation_backward: x, dx");
  check_no_partial_overlap(dy, dx, "pq_activation_backward: dy, dx");
  check_no_partial_overlap(x, dx, "pq_activation_backward: x, dx");
  dx = dy.binaryExpr(x, [p, q](Scalar upstream, Scalar value) {
    double const magnitude = std::abs(static_cast<double>(value));
    double const sign = magnitude <= 1 ? 1 : -1;  // as in pq_activation: above 1, both powers are taken of 1 / |x|
    double const outer = magnitude <= 1 ? p / q - 1 : -p - 1;
    double const slope = p / q * std::pow(magnitude, outer) * std::pow(1 + std::pow(magnitude, sign * p), -1 / q - 1);
    return static_cast<Scalar>(static_cast<double>(upstream) * slope);
  });
}

}  // namespace foldnorm::inline FOLDNORM_ABI
