// SPDX-License-Identifier: MIT
// bench/peers/torch.cpp -- libtorch in inference mode: the layer norm that a C++ user calls; its kernel alone, without
// the allocation of results; and what it has no operator for, composed of out-variants on preallocated tensors.
//
// Public functions return new tensors. Those are copied to the problem's buffers only where the results are checked: in
// a call that finds them poisoned.
#ifdef __x86_64__  // with these, the members of DispatchStub are those of a libtorch built for x86
#define HAVE_AVX2_CPU_DEFINITION
#define HAVE_AVX512_CPU_DEFINITION
#endif
#include "../implementation.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/layer_norm.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/api/include/torch/version.h>

#include <cmath>
#include <functional>
#include <memory>
#include <tuple>

namespace bench {
namespace {

using at::Tensor;
using std::get;

// The problem's buffers; undefined tensors for those that the operation does not use.
struct Tensors {
  explicit Tensors(Problem const& p)
      : n(p.n),
        m(p.m),
        x(matrix(p, p.x)),
        r(matrix(p, p.r)),
        dy(matrix(p, p.dy)),
        s(matrix(p, p.s)),
        y(matrix(p, p.y)),
        dx(matrix(p, p.dx)),
        gamma(vector(p.gamma)),
        beta(vector(p.beta)),
        dgamma(vector(p.dgamma)),
        dbeta(vector(p.dbeta)) {}

  static Tensor vector(Buffer const& buffer) {
    if (!buffer.count()) return {};
    auto const type = buffer.scalar() == Scalar::f32   ? at::kFloat
                      : buffer.scalar() == Scalar::f16 ? at::kHalf
                                                       : at::kBFloat16;
    return at::from_blob(buffer.as<void>(), {buffer.count()}, at::TensorOptions(type));
  }
  static Tensor matrix(Problem const& p, Buffer const& buffer) {
    return buffer.count() ? vector(buffer).view({p.m, p.n}) : Tensor();
  }

  int64_t n, m;
  Tensor x, r, dy, s, y, dx, gamma, beta, dgamma, dbeta;
};

using Shared = std::shared_ptr<Tensors>;

bool poisoned(Tensor const& t) { return std::isnan(*t.data_ptr<float>()); }

Run layer_norm(Shared t) {
  return [t] {
    auto const y = at::native_layer_norm(t->x, {t->n}, t->gamma, t->beta, double{eps});
    if (t->y.scalar_type() != at::kFloat || poisoned(t->y)) t->y.copy_(get<0>(y));
  };
}

Run layer_norm_backward(Shared t) {
  auto const forward = at::native_layer_norm(t->x, {t->n}, t->gamma, t->beta, double{eps});
  return [t, mean = get<1>(forward), rstd = get<2>(forward)] {
    auto const d =
        at::native_layer_norm_backward(t->dy, t->x, {t->n}, mean, rstd, t->gamma, t->beta, {true, true, true});
    if (poisoned(t->dx)) t->dx.copy_(get<0>(d)), t->dgamma.copy_(get<1>(d)), t->dbeta.copy_(get<2>(d));
  };
}

Run group_norm(Shared t) {
  return [t] {
    auto const y =
        at::native_group_norm(t->x, t->gamma, t->beta, t->m, t->n, 1, t->n / int64_t{group_size}, double{eps});
    if (poisoned(t->y)) t->y.copy_(get<0>(y));
  };
}

// x -> y, with the intermediate tensors that are kept between calls.
std::function<void(Tensor const& x)> composed_rms_norm(Shared t) {
  auto squares = at::empty_like(t->x), rstd = at::empty({t->m, 1});
  return [=](Tensor const& x) mutable {
    at::mul_out(squares, x, x);
    at::mean_out(rstd, squares, {1}, true);
    rstd.add_(double{eps}).rsqrt_();
    at::mul_out(t->y, x, rstd);
    t->y.mul_(t->gamma);
  };
}

Run composed_rms_norm_backward(Shared t) {
  auto rstd = at::square(t->x).mean({1}, true).add_(double{eps}).rsqrt_();
  auto xhat = at::empty_like(t->x), product = at::empty_like(t->x), mean = at::empty_like(rstd);
  return [=]() mutable {
    at::mul_out(xhat, t->x, rstd);
    at::mul_out(product, t->dy, xhat);
    at::sum_out(t->dgamma, product, {0});
    product.mul_(t->gamma);
    at::mean_out(mean, product, {1}, true);
    at::mul_out(t->dx, t->dy, t->gamma);
    t->dx.sub_(xhat.mul_(mean)).mul_(rstd);
  };
}

Run prepare(Problem& p) {
  auto t = std::make_shared<Tensors>(p);
  if (p.what.scalar == Scalar::f16) return {};  // libtorch 1.13 has no layer norm of halves on a CPU
  if (p.what.scalar == Scalar::bf16) return p.what.operation == Operation::layer_norm ? layer_norm(t) : Run();
  switch (p.what.operation) {
    case Operation::layer_norm:
      return layer_norm(t);
    case Operation::layer_norm_backward:
      return layer_norm_backward(t);
    case Operation::parallel_layer_norm:
      return group_norm(t);
    case Operation::rms_norm:
      return [t, norm = composed_rms_norm(t)] { norm(t->x); };
    case Operation::rms_norm_backward:
      return composed_rms_norm_backward(t);
    case Operation::add_rms_norm:
      return [t, norm = composed_rms_norm(t)] {
        at::add_out(t->s, t->x, t->r, double{residual_scale});
        norm(t->s);
      };
    case Operation::add_layer_norm:
      return {};  // see prepare_kernel
  }
  return {};
}

#if TORCH_VERSION_MAJOR < 2  // not a public interface; later versions were not tried
std::function<void(Tensor const& x)> layer_norm_kernel(Shared t) {
  auto mean = at::empty({t->m}), rstd = at::empty({t->m});
  return [=](Tensor const& x) mutable {
    at::native::LayerNormKernel(at::kCPU, x, t->gamma, t->beta, t->m, t->n, double{eps}, &t->y, &mean, &rstd);
  };
}

Run prepare_kernel(Problem& p) {
  if (p.what.scalar != Scalar::f32) return {};
  auto t = std::make_shared<Tensors>(p);
  switch (p.what.operation) {
    case Operation::layer_norm:
      return [t, norm = layer_norm_kernel(t)] { norm(t->x); };
    case Operation::add_layer_norm:
      return [t, norm = layer_norm_kernel(t)] {
        at::add_out(t->s, t->x, t->r, double{residual_scale});
        norm(t->s);
      };
    case Operation::layer_norm_backward: {
      auto const forward = at::native_layer_norm(t->x, {t->n}, t->gamma, t->beta, double{eps});
      return [t, mean = get<1>(forward), rstd = get<2>(forward)] {
        at::native::LayerNormBackwardKernel(at::kCPU, t->dy, t->x, mean, rstd, t->gamma, t->m, t->n, &t->dx, &t->dgamma,
                                            &t->dbeta);
      };
    }
    default:
      return {};
  }
}
#endif

}  // namespace

Library torch(int threads) {
  static c10::InferenceMode const inference;  // for this thread, to the end
  at::set_num_threads(threads);
  Library result{"libtorch " TORCH_VERSION, {{"libtorch", prepare}}};
#if TORCH_VERSION_MAJOR < 2
  result.implementations.push_back({"libtorch kernel", prepare_kernel});
#endif
  return result;
}

}  // namespace bench
