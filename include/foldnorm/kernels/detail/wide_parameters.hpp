// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/wide_parameters.hpp -- gamma and beta of half or bfloat16 matrices, as floats for all
// columns.
//
// A conversion takes as long as the arithmetic beside it, and each column needs all of gamma's and beta's: with copies
// that were converted once, a norm of 768 x 128 takes .85 to .88 of the time, and gives the same bits.
#pragma once

#include <foldnorm/kernels/detail/operands.hpp>

namespace foldnorm::detail {

inline constexpr Index most_wide_features = 4096;  // on the stack, for gamma and for beta
inline constexpr Index samples_worth_widening = 4;

// Two packs are kept in the order in which two packs of the matrix are worked on: i is a multiple of 2 * width<C>.
template <storage_scalar P, storage_scalar T>
struct WideValues : Values<P> {
  Compute<T> const* wide;

  using Values<P>::at;
  template <class C, int k>
  FOLDNORM_INLINE Pack<C> at(Index i, OfTwo<T, k>) const {
    return load(wide + i + k * width<C>);
  }
};

template <storage_scalar P, storage_scalar T>
struct WideColumns {
  WideValues<P, T> values;
  FOLDNORM_INLINE WideValues<P, T> at(Index, Index, int = 0) const { return values; }
};

// What is absent, or given per column, stays as it is.
template <class Parameter, storage_scalar T>
struct WideParameter {
  Parameter of(Parameter const& one, Index) { return one; }
};
template <storage_scalar P, storage_scalar T>
struct WideParameter<ParameterColumns<P, true>, T> {
  using C = Compute<T>;
  WideColumns<P, T> of(ParameterColumns<P, true> const& one, Index n) {
    Values<P> const values = one.at(0, 0);
    for (Index i = 0; i + 2 * width<C> <= n; i += 2 * width<C>) {
      store(wide + i, values.template at<C>(i, OfTwo<T, 0>{}));
      store(wide + i + width<C>, values.template at<C>(i, OfTwo<T, 1>{}));
    }
    return {{values, wide}};
  }
  alignas(pack_bytes) C wide[most_wide_features];
};

template <class AnyOperands>
inline constexpr bool may_widen = !AnyOperands::grouped && !real_scalar<typename AnyOperands::T>;

// Calls use(the same operands with wide parameters). Precondition: no more than most_wide_features.
template <class AnyOperands, class Use>
void with_wide_parameters(AnyOperands const& narrow, Use const& use) {
  using T = typename AnyOperands::T;
  WideParameter<decltype(narrow.gamma), T> gammas;
  WideParameter<decltype(narrow.beta), T> betas;
  auto gamma = gammas.of(narrow.gamma, narrow.norm_size);
  auto beta = betas.of(narrow.beta, narrow.norm_size);
  use(Operands<false, decltype(narrow.source), decltype(gamma), decltype(beta)>{
      narrow.source, gamma, beta, narrow.y, narrow.groups, narrow.norm_size, narrow.eps, narrow.statistics,
      narrow.in_place});
}

}  // namespace foldnorm::detail
