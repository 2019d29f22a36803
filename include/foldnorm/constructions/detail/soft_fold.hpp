// SPDX-License-Identifier: MIT
// foldnorm/constructions/detail/soft_fold.hpp -- a width-3 LayerNorm as a map of the line, and the layers that do it.
//
//   y = LN(h),   h = (t, -t, -sqrt(3) w) / sqrt(2),   t = x - c          so that, with rho = sqrt(t^2 + w^2),
//   S = t / rho = (y1 - y2) / sqrt(6),   C = w / rho = -y3 / sqrt(2)
//   h' = (t', -t', -sqrt(3) w' / rho) / sqrt(2),   t' = alpha S + gamma - (c' / w) C = (x' - c') / rho
//   x' = alpha (x - c) + gamma rho
//
// and the next LayerNorm removes 1 / rho: a chain of them maps x to x' to x'' ..., each step a soft absolute value with
// slopes alpha - gamma left and alpha + gamma right of a corner at c, rounded over a width w. Derived for this library;
// the theorem is that of Ni et al. 2024, arXiv:2406.01255.
//
// h is not centered. Its first two features are equal but for the sign, to the last bit, so the mean is -w / sqrt(6)
// without the rounding of t, and C keeps its digits where the sample is far from the corner (Accuracy::accurate sums
// exactly): points are known to u |x| instead of u x^2 / w.
#pragma once

#include <foldnorm/core/types.hpp>
#include <foldnorm/layers/linear.hpp>

#include <cmath>

namespace foldnorm::detail {

struct SoftFold {
  double alpha, gamma, c, w;  // w > 0
  double operator()(double x) const { return alpha * (x - c) + gamma * std::hypot(x - c, w); }
  double slope(double x) const { return alpha + gamma * (x - c) / std::hypot(x - c, w); }
};

// Slope -lambda left of c and 1 right of it.
inline SoftFold left_fold(double lambda, double c, double w) { return {(1 - lambda) / 2, (1 + lambda) / 2, c, w}; }
// Slope lambda > 0 left of c and 1 right of it: stretches or compresses the left, and keeps the order of all points.
inline SoftFold left_scale(double lambda, double c, double w) { return {(1 + lambda) / 2, (1 - lambda) / 2, c, w}; }
// x -> -f(-x): the same at the right end.
inline SoftFold mirrored(SoftFold const& f) { return {f.alpha, -f.gamma, -f.c, f.w}; }

// x = weight . q + shift: the line that samples q are projected on.
struct Projection {
  Vector<double> weight;
  double shift = 0;
};

// A layer whose output is kappa h, from the row that computes t and the one that computes w, over the layer's input and
// 1 (the last coefficient). Only a norm with an epsilon notices kappa > 0.
template <real_scalar Scalar>
Linear<Scalar> layer_of_rows(Vector<double> const& t, Vector<double> const& w, double kappa) {
  Index const in = t.size() - 1;
  Vector<Scalar> const first = (kappa / std::sqrt(2.0) * t).template cast<Scalar>();
  Matrix<Scalar> rows(3, t.size());
  rows.row(0) = first.transpose();
  rows.row(1) = -first.transpose();
  rows.row(2) = (-kappa * std::sqrt(1.5) * w).transpose().template cast<Scalar>();
  return {rows.leftCols(in), rows.col(in)};
}

// The layer before the first LayerNorm, n to 3.
template <real_scalar Scalar>
Linear<Scalar> first_layer(Projection const& line, SoftFold const& fold, double kappa) {
  Index const n = line.weight.size();
  Vector<double> t(n + 1), w = Vector<double>::Zero(n + 1);
  t << line.weight, line.shift - fold.c;
  w(n) = fold.w;
  return layer_of_rows<Scalar>(t, w, kappa);
}

// The layer between the LayerNorm of `previous` and that of `next`: previous' slopes, next's corner.
template <real_scalar Scalar>
Linear<Scalar> next_layer(SoftFold const& previous, SoftFold const& next, double kappa) {
  double const of_s = 1 / std::sqrt(6.0), of_c = -1 / std::sqrt(2.0);
  Eigen::Vector4d const t(of_s * previous.alpha, -of_s * previous.alpha, -of_c * next.c / previous.w, previous.gamma);
  Eigen::Vector4d const w(0, 0, of_c * next.w / previous.w, 0);
  return layer_of_rows<Scalar>(t, w, kappa);
}

// After a chain's last LayerNorm: a layer and norm that keep its output.
template <real_scalar Scalar>
Linear<Scalar> padding_layer(double kappa) {
  return next_layer<Scalar>({1, 0, 0, 1}, {1, 0, 0, 1}, kappa);
}

// What a linear function a S + b C + d is in terms of y: three weights, and d as the bias.
struct Readout {
  Eigen::Vector3d weight = Eigen::Vector3d::Zero();
  double bias = 0;
};
inline Readout readout(double a, double b, double d) {
  return {{a / std::sqrt(6.0), -a / std::sqrt(6.0), -b / std::sqrt(2.0)}, d};
}

// From the outputs y (3 x m) of the LayerNorm of `fold` to the points x' that the next layer will see, in the bits that
// it will see. False if some point has left the half circle C > 0 (or is NaN).
template <real_scalar Scalar>
bool read_line(Matrix<Scalar> const& y, SoftFold const& fold, Vector<double>& x) {
  double const of_s = 1 / std::sqrt(6.0), of_c = -1 / std::sqrt(2.0);
  x.resize(y.cols());
  bool above = true;
  Scalar const* sample = y.data();
  for (Index j = 0; j < y.cols(); ++j, sample += 3) {
    double const s = of_s * (static_cast<double>(sample[0]) - static_cast<double>(sample[1]));
    double const height = of_c * static_cast<double>(sample[2]);
    above &= height > 0;
    x(j) = fold.w * (fold.alpha * s + fold.gamma) / height;
  }
  return above;
}

}  // namespace foldnorm::detail
