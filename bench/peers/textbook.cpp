// SPDX-License-Identifier: MIT
// bench/peers/textbook.cpp -- the loops that one writes from the formulas, in float.
//
// Compiled three times, as the functions textbook, textbook_fast_math and textbook_tuned (BENCH_TEXTBOOK): with
// -ffast-math the compiler may vectorize the sums, and with the flags of the third g++ sums in several registers.
#include "../implementation.hpp"

#include <cmath>
#include <memory>
#include <vector>

namespace bench {
namespace {

struct Moments {
  float mean, rstd;
};

Moments layer_norm_moments(float const* x, Index n) {
  float sum = 0;
  for (Index i = 0; i < n; ++i) sum += x[i];
  float const mean = sum / static_cast<float>(n);
  float squares = 0;
  for (Index i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {mean, 1 / std::sqrt(squares / static_cast<float>(n) + eps)};
}

Moments rms_norm_moments(float const* x, Index n) {
  float squares = 0;
  for (Index i = 0; i < n; ++i) squares += x[i] * x[i];
  return {0, 1 / std::sqrt(squares / static_cast<float>(n) + eps)};
}

void layer_norm(float const* x, float const* gamma, float const* beta, Index n, float* __restrict y) {
  Moments const k = layer_norm_moments(x, n);
  for (Index i = 0; i < n; ++i) y[i] = (x[i] - k.mean) * k.rstd * gamma[i] + beta[i];
}

void rms_norm(float const* x, float const* gamma, Index n, float* __restrict y) {
  Moments const k = rms_norm_moments(x, n);
  for (Index i = 0; i < n; ++i) y[i] = x[i] * k.rstd * gamma[i];
}

void add(float const* x, float const* r, Index n, float* __restrict s) {
  for (Index i = 0; i < n; ++i) s[i] = x[i] + residual_scale * r[i];
}

void layer_norm_backward(float const* dy, float const* x, float const* gamma, Moments k, Index n, float* __restrict dx,
                         float* __restrict dgamma, float* __restrict dbeta) {
  float sum = 0, product = 0;
  for (Index i = 0; i < n; ++i) {
    float const xhat = (x[i] - k.mean) * k.rstd, g = gamma[i] * dy[i];
    sum += g;
    product += g * xhat;
  }
  sum /= static_cast<float>(n);
  product /= static_cast<float>(n);
  for (Index i = 0; i < n; ++i) {
    float const xhat = (x[i] - k.mean) * k.rstd;
    dx[i] = k.rstd * (gamma[i] * dy[i] - sum - xhat * product);
    dgamma[i] += dy[i] * xhat;
    dbeta[i] += dy[i];
  }
}

void rms_norm_backward(float const* dy, float const* x, float const* gamma, float rstd, Index n, float* __restrict dx,
                       float* __restrict dgamma) {
  float product = 0;
  for (Index i = 0; i < n; ++i) product += gamma[i] * dy[i] * x[i] * rstd;
  product /= static_cast<float>(n);
  for (Index i = 0; i < n; ++i) {
    float const xhat = x[i] * rstd;
    dx[i] = rstd * (gamma[i] * dy[i] - xhat * product);
    dgamma[i] += dy[i] * xhat;
  }
}

// The backward's sums over columns start from zero; what the forward kept is computed once.
Run backward(Problem& p, bool rms) {
  std::vector<Moments> kept;
  for (Index j = 0; j < p.m; ++j) {
    float const* x = p.x.f32() + j * p.n;
    kept.push_back(rms ? rms_norm_moments(x, p.n) : layer_norm_moments(x, p.n));
  }
  return [&p, rms, kept] {
    for (Index i = 0; i < p.n; ++i) p.dgamma.f32()[i] = p.dbeta.f32()[i] = 0;
    for (Index j = 0; j < p.m; ++j) {
      float const *dy = p.dy.f32() + j * p.n, *x = p.x.f32() + j * p.n;
      float* dx = p.dx.f32() + j * p.n;
      Moments const k = kept[static_cast<std::size_t>(j)];
      if (rms)
        rms_norm_backward(dy, x, p.gamma.f32(), k.rstd, p.n, dx, p.dgamma.f32());
      else
        layer_norm_backward(dy, x, p.gamma.f32(), k, p.n, dx, p.dgamma.f32(), p.dbeta.f32());
    }
  };
}

template <class Body>
Run for_columns(Problem& p, Body body) {
  return [&p, body] {
    for (Index j = 0; j < p.m; ++j) body(p, j * p.n);
  };
}

Run prepare(Problem& problem) {
  if (problem.what.scalar != Scalar::f32) return {};
  switch (problem.what.operation) {
    case Operation::layer_norm:
      return for_columns(problem, [](Problem& p, Index at) {
        layer_norm(p.x.f32() + at, p.gamma.f32(), p.beta.f32(), p.n, p.y.f32() + at);
      });
    case Operation::rms_norm:
      return for_columns(problem,
                         [](Problem& p, Index at) { rms_norm(p.x.f32() + at, p.gamma.f32(), p.n, p.y.f32() + at); });
    case Operation::add_layer_norm:
      return for_columns(problem, [](Problem& p, Index at) {
        add(p.x.f32() + at, p.r.f32() + at, p.n, p.s.f32() + at);
        layer_norm(p.s.f32() + at, p.gamma.f32(), p.beta.f32(), p.n, p.y.f32() + at);
      });
    case Operation::add_rms_norm:
      return for_columns(problem, [](Problem& p, Index at) {
        add(p.x.f32() + at, p.r.f32() + at, p.n, p.s.f32() + at);
        rms_norm(p.s.f32() + at, p.gamma.f32(), p.n, p.y.f32() + at);
      });
    case Operation::parallel_layer_norm:
      return for_columns(problem, [](Problem& p, Index at) {
        for (Index i = 0; i < p.n; i += group_size)
          layer_norm(p.x.f32() + at + i, p.gamma.f32() + i, p.beta.f32() + i, group_size, p.y.f32() + at + i);
      });
    case Operation::layer_norm_backward:
      return backward(problem, false);
    case Operation::rms_norm_backward:
      return backward(problem, true);
  }
  return {};
}

}  // namespace

Library BENCH_TEXTBOOK() { return {"", {{BENCH_TEXTBOOK_NAME, prepare}}}; }

}  // namespace bench
