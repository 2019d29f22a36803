// SPDX-License-Identifier: MIT
// bench/ours.cpp -- foldnorm's kernels on a problem's buffers.
#include "implementation.hpp"
#include "views.hpp"

#include <foldnorm/kernels/add_norm.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/parallel_layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include <memory>

namespace bench {
namespace {

using foldnorm::none;

template <class S>
using Arguments = ViewsOf<S, Eigen::Map<foldnorm::Matrix<S>>, Eigen::Map<foldnorm::Vector<S>>>;

template <class S>
Run forward(Operation operation, Arguments<S> a) {
  switch (operation) {
    case Operation::layer_norm:
      return [a]() mutable { foldnorm::layer_norm(a.x, a.gamma, a.beta, eps, a.y); };
    case Operation::rms_norm:
      return [a]() mutable { foldnorm::rms_norm(a.x, a.gamma, none, eps, a.y); };
    default:
      return {};
  }
}

// The forward is run once, for its statistics; a training loop keeps the workspace from step to step.
template <class Forward, class Backward>
Run backward(Arguments<float> a, Forward forward, Backward run) {
  foldnorm::NormStatistics<float> statistics;
  forward(a, statistics);
  auto workspace = std::make_shared<foldnorm::NormWorkspace>();
  return [=]() mutable { run(a, statistics, foldnorm::BackwardOptions{.workspace = workspace.get()}); };
}

Run layer_norm_backward(Arguments<float> arguments) {
  return backward(
      arguments, [](auto& a, auto& statistics) { foldnorm::layer_norm(a.x, a.gamma, a.beta, eps, a.dx, statistics); },
      [](auto& a, auto const& statistics, auto options) {
        foldnorm::layer_norm_backward(a.dy, a.x, a.gamma, statistics, a.dx, a.dgamma, a.dbeta, options);
      });
}

Run rms_norm_backward(Arguments<float> arguments) {
  return backward(
      arguments, [](auto& a, auto& statistics) { foldnorm::rms_norm(a.x, a.gamma, none, eps, a.dx, statistics); },
      [](auto& a, auto const& statistics, auto options) {
        foldnorm::rms_norm_backward(a.dy, a.x, a.gamma, statistics, a.dx, a.dgamma, none, options);
      });
}

Run prepare(Problem& p) {
  if (p.what.scalar == Scalar::f16) return forward(p.what.operation, Arguments<Eigen::half>(p));
  if (p.what.scalar == Scalar::bf16) return forward(p.what.operation, Arguments<Eigen::bfloat16>(p));
  if (p.what.scalar != Scalar::f32) return {};
  Arguments<float> a(p);
  switch (p.what.operation) {
    case Operation::layer_norm:
    case Operation::rms_norm:
      return forward(p.what.operation, a);
    case Operation::layer_norm_backward:
      return layer_norm_backward(a);
    case Operation::rms_norm_backward:
      return rms_norm_backward(a);
    case Operation::add_layer_norm:
      return [a]() mutable { foldnorm::add_layer_norm(a.x, residual_scale, a.r, a.gamma, a.beta, eps, a.s, a.y); };
    case Operation::add_rms_norm:
      return [a]() mutable { foldnorm::add_rms_norm(a.x, residual_scale, a.r, a.gamma, none, eps, a.s, a.y); };
    case Operation::parallel_layer_norm:
      return [a]() mutable { foldnorm::parallel_layer_norm(a.x, group_size, a.gamma, a.beta, eps, a.y); };
    default:
      return {};
  }
}

}  // namespace

Library ours(int threads) {
  Eigen::setNbThreads(threads);
  return {"", {{ours_name, prepare}}};
}

}  // namespace bench
