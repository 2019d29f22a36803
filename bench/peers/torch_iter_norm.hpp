// SPDX-License-Identifier: MIT
// bench/peers/torch_iter_norm.hpp -- IterNorm, forward and backward, by libtorch (where this build has it).
#pragma once

#include <cstdint>
#include <functional>

namespace bench {

struct ComposedIterNorm {
  std::function<void()> run;    // what is timed
  std::function<void()> check;  // the same, and writes y and dx
};

// x, dy, y, dx: features x samples, column-major. eps 1e-5, divisor the number of samples.
template <class Scalar>
ComposedIterNorm torch_iter_norm(Scalar* x, Scalar* dy, int64_t features, int64_t samples, int steps, Scalar* y,
                                 Scalar* dx);

}  // namespace bench
