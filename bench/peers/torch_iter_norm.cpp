// SPDX-License-Identifier: MIT
// bench/peers/torch_iter_norm.cpp -- IterNorm as one composes it of libtorch's operators, its backward by autograd.
#include "torch_iter_norm.hpp"

#include <ATen/Parallel.h>
#include <torch/csrc/api/include/torch/torch.h>

namespace bench {

template <class Scalar>
ComposedIterNorm torch_iter_norm(Scalar* x, Scalar* dy, int64_t features, int64_t samples, int steps, Scalar* y,
                                 Scalar* dx) {
  at::set_num_threads(1);
  auto const type = torch::TensorOptions(torch::CppTypeToScalarType<Scalar>::value);
  // A sample is a row of libtorch's matrices: the same bytes.
  auto const input = torch::from_blob(x, {samples, features}, type);
  auto const upstream = torch::from_blob(dy, {samples, features}, type);
  auto const y_out = torch::from_blob(y, {samples, features}, type);
  auto const dx_out = torch::from_blob(dx, {samples, features}, type);
  auto const identity = torch::eye(features, type);
  auto const run = [=] {
    auto const leaf = input.detach().requires_grad_();
    auto const centered = leaf - leaf.mean(0, true);
    auto const sigma = torch::addmm(identity, centered.t(), centered, 1e-5, 1.0 / static_cast<double>(samples));
    auto const trace = sigma.trace();
    auto const s = sigma / trace;
    auto p = identity;
    for (int k = 0; k < steps; ++k) p = torch::addmm(p, torch::mm(torch::mm(p, p), p), s, 1.5, -0.5);
    auto const result = torch::mm(centered, p) / trace.sqrt();
    result.backward(upstream);
    return std::pair{result, leaf.grad()};
  };
  return {[run] { run(); },
          [=] {
            auto const [result, gradient] = run();
            y_out.copy_(result.detach());
            dx_out.copy_(gradient);
          }};
}

template ComposedIterNorm torch_iter_norm(float*, float*, int64_t, int64_t, int, float*, float*);
template ComposedIterNorm torch_iter_norm(double*, double*, int64_t, int64_t, int, double*, double*);

}  // namespace bench
