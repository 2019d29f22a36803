// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/joined_columns.hpp -- several columns of few short groups as one column of many.
//
// Short groups are worked on in blocks of width<C>, within a column. A column of 64 features in groups of 16 has only 4
// of them, and a block that is not full costs as much as ten: so columns that lie end to end in memory are taken
// together, k at a time, with gamma and beta repeated k times. The numbers of the groups stay what they were, and so
// do their bits.
#pragma once

#include <foldnorm/kernels/detail/operands.hpp>
#include <foldnorm/kernels/detail/short_groups.hpp>

#include <algorithm>
#include <concepts>
#include <numeric>

namespace foldnorm::detail {

inline constexpr Index most_joined_features = 4096;  // on the stack, for gamma and for beta

// k-fold gamma or beta: per feature repeated, per column the same memory at other strides.
template <class Parameter>
struct JoinedParameter {
  Parameter of(Parameter one, Index, Index k) {
    if constexpr (!std::same_as<Parameter, NoParameter>) one.columns.stride *= k;
    return one;
  }
};
template <storage_scalar P>
struct JoinedParameter<ParameterColumns<P, true>> {
  JoinedParameter() {}
  ParameterColumns<P, true> of(ParameterColumns<P, true> const& one, Index features, Index k) {
    for (Index copy = 0; copy < k; ++copy) std::copy_n(one.columns.data, features, values + copy * features);
    return {{values, 0}};
  }
  // In a union, as half and bfloat16 would clear themselves: 8 KiB in each call, as long as it takes for 64 x 2.
  union {
    P values[most_joined_features];
  };
};

inline bool lies_end_to_end(NoParameter, Index) { return true; }
template <storage_scalar P, bool per_feature>
bool lies_end_to_end(ParameterColumns<P, per_feature> const& parameter, Index features) {
  return per_feature || parameter.columns.stride == features;
}

// As many columns of so many groups as fill whole blocks, as far as there are so many and they may be joined.
template <class C>
Index columns_of_whole_blocks(Index groups, Index most, Index columns) {
  Index const whole_blocks = width<C> / std::gcd(groups, Index{width<C>});
  return std::max<Index>(1, std::min({whole_blocks, most, columns}));
}

// k; 1 where there is nothing to join.
template <class Operands>
Index columns_to_join(Operands const& operands, Index features, Index columns) {
  using C = typename Operands::C;
  bool const joins = is_short_group<C>(operands.norm_size) && operands.groups < width<C> &&
                     operands.source.x.stride == features && operands.y.stride == features &&
                     lies_end_to_end(operands.gamma, features) && lies_end_to_end(operands.beta, features);
  return joins ? columns_of_whole_blocks<C>(operands.groups, most_joined_features / features, columns) : 1;
}

// Calls use(joined operands, their columns), and leaves out the last columns % k.
template <class Operands, class Use>
void with_joined_columns(Operands const& operands, Index features, Index columns, Index k, Use const& use) {
  Operands joined = operands;
  JoinedParameter<decltype(joined.gamma)> gammas;
  JoinedParameter<decltype(joined.beta)> betas;
  joined.source.x.stride *= k;
  joined.y.stride *= k;
  joined.groups *= k;
  joined.gamma = gammas.of(operands.gamma, features, k);
  joined.beta = betas.of(operands.beta, features, k);
  use(joined, columns / k);
}

}  // namespace foldnorm::detail
