// SPDX-License-Identifier: MIT
// foldnorm/kernels/backward_options.hpp -- what a caller can ask of a norm's backward, and the memory it works in.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/types.hpp>

#include <cstddef>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// Partial sums of dgamma and dbeta. Grows to what the largest call needs, some 1/128 of its dy, and then stays: a call
// that is given one allocates nothing once it has seen its shape. Not for two calls at a time.
class NormWorkspace {
 public:
  // Room for `count` values of P, uninitialized; what an earlier call returned is gone.
  template <class P>
  P* reserve(std::size_t count) {
    static_assert(alignof(P) <= alignof(double));
    std::size_t const needed = (count * sizeof(P) + sizeof(double) - 1) / sizeof(double);
    if (memory_.size() < needed) memory_.resize(needed);
    return reinterpret_cast<P*>(memory_.data());
  }

 private:
  std::vector<double> memory_;
};

struct BackwardOptions {
  Accuracy accuracy = Accuracy::fast;
  bool add_to_dx = false;              // dx += ..., else dx = ...
  bool add_to_parameters = false;      // dgamma += ..., dbeta += ..., else =
  NormWorkspace* workspace = nullptr;  // null: memory of the call's own
};

}  // namespace foldnorm::inline FOLDNORM_ABI
