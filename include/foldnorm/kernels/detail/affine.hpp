// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/affine.hpp -- gain and shift of one sample: y = gamma * xhat + beta, each present or absent.
//
// Whether they are there is a type, so that no loop asks; whether they are given per feature or per feature and column
// is only where a sample's values begin.
#pragma once

#include <foldnorm/core/pack_half.hpp>

#include <algorithm>

namespace foldnorm::detail {

// gamma or beta from some feature on; stored in P, applied in C.
template <storage_scalar P>
struct Values {
  static constexpr bool present = true;
  P const* data;

  template <class C>
  FOLDNORM_INLINE Pack<C> at(Index i, auto... of_two) const {
    return load(data + i, of_two...);
  }
  template <class C>
  C one(Index i) const {
    return static_cast<C>(static_cast<Compute<P>>(data[i]));
  }
  Values from(Index k) const { return {data + k}; }
};

struct Absent {
  static constexpr bool present = false;
  Absent from(Index) const { return {}; }
};

template <class C, class Gamma, class Beta>
FOLDNORM_INLINE Pack<C> gain_and_shift(Pack<C> xhat, Gamma gamma, Beta beta, Index i, auto... of_two) {
  if constexpr (Gamma::present && Beta::present) {
    return multiply_add(xhat, gamma.template at<C>(i, of_two...), beta.template at<C>(i, of_two...));
  } else if constexpr (Gamma::present) {
    return xhat * gamma.template at<C>(i, of_two...);
  } else if constexpr (Beta::present) {
    return multiply_add(xhat, broadcast(C(1)), beta.template at<C>(i, of_two...));  // bars a contraction with xhat's
  } else {
    return xhat;
  }
}

// The first `count` < width<C> values as if they were a whole pack's.
template <class C>
struct Padded {
  static constexpr bool present = true;
  Pack<C> values{};

  template <class>
  FOLDNORM_INLINE Pack<C> at(Index) const {
    return values;
  }
};
template <class C, class P>
FOLDNORM_INLINE Padded<C> padded(Values<P> values, Index count) {
  Padded<C> result;
  for (Index i = 0; i < std::min<Index>(count, width<C>); ++i) result.values[i] = values.template one<C>(i);
  return result;
}
template <class C>
FOLDNORM_INLINE Absent padded(Absent, Index) {
  return {};
}

}  // namespace foldnorm::detail
