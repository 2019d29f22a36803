// SPDX-License-Identifier: MIT
// training/optimizer.hpp -- SGD with momentum, Adam and AdamW, and a learning rate with warm-up and cosine decay.
//
// An optimizer owns its state by parameter name and changes one parameter in update(name, w, gradient, rate), all of
// them in update_all. Weight decay acts on matrices and spares vectors (biases, gamma, beta).
#pragma once

#include "named_matrices.hpp"

#include <cmath>
#include <functional>
#include <map>
#include <numbers>
#include <string>
#include <utility>

namespace foldnorm::training {

// The rate at `progress` in [0, 1] of the training: linear up to `peak` while progress < warmup, then a half cosine
// down to 0. Legal range of warmup [0, 1), advised 0.05 to 0.1.
inline double warmup_cosine(double progress, double peak, double warmup) {
  if (progress < warmup) return peak * progress / warmup;
  return peak * 0.5 * (1 + std::cos(std::numbers::pi * (progress - warmup) / (1 - warmup)));
}

// u <- momentum u + g + decay w,   w <- w - rate u
template <real_scalar Scalar>
class Sgd {
 public:
  struct Settings {
    Scalar momentum = Scalar(0.9);
    Scalar decay = Scalar(5e-4);
  };

  explicit Sgd(NamedMatrices<Scalar> const& parameters, Settings settings = {})
      : settings_(settings), velocity_(zeros_like(parameters)) {}

  void update(std::string const& name, Matrix<Scalar>& w, Matrix<Scalar> const& g, double rate) {
    Matrix<Scalar>& u = velocity_.at(name);
    Scalar const decay = w.cols() > 1 ? settings_.decay : Scalar(0);
    u = settings_.momentum * u + g + decay * w;
    w -= static_cast<Scalar>(rate) * u;
  }

 private:
  Settings settings_;
  NamedMatrices<Scalar> velocity_;
};

// m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   w <- w - rate (m' / (sqrt(v') + eps) + decay w)
// with m' = m / (1 - b1^t), v' = v / (1 - b2^t). Loshchilov & Hutter, arXiv:1711.05101. Adam is AdamW without decay.
template <real_scalar Scalar>
class AdamW {
 public:
  struct Settings {
    Scalar beta1 = Scalar(0.9);
    Scalar beta2 = Scalar(0.99);  // a memory of 100 steps: the trainings here are a few thousand steps long
    Scalar eps = Scalar(1e-8);
    Scalar decay = Scalar(0.05);
  };

  explicit AdamW(NamedMatrices<Scalar> const& parameters, Settings settings = {}) : settings_(settings) {
    for (auto const& [name, w] : parameters) {
      Matrix<Scalar> const zero = Matrix<Scalar>::Zero(w.rows(), w.cols());
      moments_[name] = {.first = zero, .second = zero};
    }
  }

  void update(std::string const& name, Matrix<Scalar>& w, Matrix<Scalar> const& g, double rate) {
    auto const [beta1, beta2, eps, decay] = settings_;
    auto& [m, v, power1, power2] = moments_.at(name);
    power1 *= beta1;
    power2 *= beta2;
    Scalar const step = static_cast<Scalar>(rate) / (1 - power1);
    Scalar const correction = 1 / (1 - power2);
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g.cwiseAbs2();
    if (w.cols() > 1) w *= 1 - static_cast<Scalar>(rate) * decay;
    w.array() -= step * m.array() / ((correction * v.array()).sqrt() + eps);
  }

 private:
  struct Moments {
    Matrix<Scalar> first, second;
    Scalar power1 = 1, power2 = 1;  // beta1^t, beta2^t
  };

  Settings settings_;
  std::map<std::string, Moments> moments_;
};

// The gradients may be changed, too: CenteredOptimizer centers them.
template <real_scalar Scalar, class Optimizer>
void update_all(Optimizer& optimizer, NamedMatrices<Scalar>& parameters, NamedMatrices<Scalar>& gradients,
                double rate) {
  for (auto& [name, w] : parameters) optimizer.update(name, w, gradients.at(name), rate);
}

// Any optimizer, for code that is not to be compiled for each.
template <real_scalar Scalar>
class AnyOptimizer {
 public:
  template <class Optimizer>
  explicit AnyOptimizer(Optimizer optimizer)
      : update_([optimizer = std::move(optimizer)](std::string const& name, Matrix<Scalar>& w, Matrix<Scalar>& g,
                                                   double rate) mutable { optimizer.update(name, w, g, rate); }) {}

  void update(std::string const& name, Matrix<Scalar>& w, Matrix<Scalar>& g, double rate) { update_(name, w, g, rate); }

 private:
  std::function<void(std::string const&, Matrix<Scalar>&, Matrix<Scalar>&, double)> update_;
};

}  // namespace foldnorm::training
