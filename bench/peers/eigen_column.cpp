// SPDX-License-Identifier: MIT
// bench/peers/eigen_column.cpp -- plain Eigen a column at a time, so that a column is in cache when it is read again.
#include "../implementation.hpp"
#include "eigen_views.hpp"

#include <cmath>

namespace bench {
namespace {

template <class X>
float rstd_of(X const& centred) {
  return 1 / std::sqrt(centred.square().mean() + eps);
}

template <class X, class V, class Y>
void layer_norm(X const& x, V const& gamma, V const& beta, Y&& y) {
  y = x - x.mean();
  y = y * rstd_of(y) * gamma + beta;
}

template <class X, class V, class Y>
void rms_norm(X const& x, V const& gamma, Y&& y) {
  y = x * rstd_of(x) * gamma;
}

Run backward(Views<float> v, bool rms) {
  Row mean = Row::Zero(v.x.cols());
  if (!rms) mean = v.x.colwise().mean();
  Row const rstd = ((v.x.rowwise() - mean).square().colwise().mean() + eps).rsqrt();
  Column<float> xhat(v.x.rows()), g(v.x.rows());
  return [=]() mutable {
    v.dgamma.setZero();
    v.dbeta.setZero();
    for (Index j = 0; j < v.x.cols(); ++j) {
      auto const dy = v.dy.col(j);
      g = v.gamma * dy;
      if (rms) {
        xhat = v.x.col(j) * rstd(j);
        v.dx.col(j) = rstd(j) * (g - xhat * (g * xhat).mean());
      } else {
        xhat = (v.x.col(j) - mean(j)) * rstd(j);
        v.dx.col(j) = rstd(j) * (g - g.mean() - xhat * (g * xhat).mean());
        v.dbeta += dy;
      }
      v.dgamma += dy * xhat;
    }
  };
}

template <class Body>
Run for_columns(Views<float> v, Body body) {
  return [v, body]() mutable {
    for (Index j = 0; j < v.x.cols(); ++j) body(v, j);
  };
}

// 16-bit columns are computed in float.
template <class S>
Run prepare_narrow(Problem& p) {
  Views<S> v(p);
  Column<float> const gamma = v.gamma.template cast<float>(), beta = v.beta.template cast<float>();
  bool const rms = p.what.operation == Operation::rms_norm;
  if (p.what.operation != Operation::layer_norm && !rms) return {};
  return [v, gamma, beta, rms, x = Column<float>(p.n), y = Column<float>(p.n)]() mutable {
    for (Index j = 0; j < v.x.cols(); ++j) {
      x = v.x.col(j).template cast<float>();
      if (rms)
        rms_norm(x, gamma, y);
      else
        layer_norm(x, gamma, beta, y);
      v.y.col(j) = y.template cast<S>();
    }
  };
}

Run prepare(Problem& p) {
  if (p.what.scalar == Scalar::f16) return prepare_narrow<Eigen::half>(p);
  if (p.what.scalar == Scalar::bf16) return prepare_narrow<Eigen::bfloat16>(p);
  Views<float> v(p);
  switch (p.what.operation) {
    case Operation::layer_norm:
      return for_columns(v, [](auto& w, Index j) { layer_norm(w.x.col(j), w.gamma, w.beta, w.y.col(j)); });
    case Operation::rms_norm:
      return for_columns(v, [](auto& w, Index j) { rms_norm(w.x.col(j), w.gamma, w.y.col(j)); });
    case Operation::layer_norm_backward:
      return backward(v, false);
    case Operation::rms_norm_backward:
      return backward(v, true);
    case Operation::add_layer_norm:
      return for_columns(v, [](auto& w, Index j) {
        w.s.col(j) = w.x.col(j) + residual_scale * w.r.col(j);
        layer_norm(w.s.col(j), w.gamma, w.beta, w.y.col(j));
      });
    case Operation::add_rms_norm:
      return for_columns(v, [](auto& w, Index j) {
        w.s.col(j) = w.x.col(j) + residual_scale * w.r.col(j);
        rms_norm(w.s.col(j), w.gamma, w.y.col(j));
      });
    case Operation::parallel_layer_norm:
      return for_columns(v, [](auto& w, Index j) {
        Index const count = w.x.rows() / group_size;
        for (Index k = 0; k < count; ++k) {
          auto const part = [&](auto& vector) { return vector.template segment<group_size>(k * group_size); };
          layer_norm(groups(w.x).col(j * count + k), part(w.gamma), part(w.beta), groups(w.y).col(j * count + k));
        }
      });
  }
  return {};
}

}  // namespace

Library eigen_column() { return {"", {{"Eigen per column", prepare}}}; }

}  // namespace bench
