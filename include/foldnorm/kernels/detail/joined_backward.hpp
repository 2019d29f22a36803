// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/joined_backward.hpp -- joined_columns.hpp for the backward.
//
// k columns at a time, so k sums for each feature, which are added up at the end: an order that the shape decides, and
// whether anything can be joined. Columns apart from each other are not, nor where a parameter's gradient is wanted per
// column.
#pragma once

#include <foldnorm/kernels/detail/backward_operands.hpp>
#include <foldnorm/kernels/detail/joined_columns.hpp>
#include <foldnorm/kernels/detail/parameter_gradients.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>

namespace foldnorm::detail {

inline constexpr Index most_joined_sums = 1024;  // with gamma: what stays in the nearest cache beside x, dy and dx

// k for columns begin .. begin + columns - 1; a power of two, since slices of dgamma's sums begin at multiples of one.
template <class Operands>
Index backward_columns_to_join(Operands const& operands, Index features, Index columns) {
  using C = typename Operands::C;
  auto const adjoin = [&](auto const& matrix) { return !matrix.data || matrix.stride == features; };
  bool const joins = adjoin(operands.dy) && adjoin(operands.x) && adjoin(operands.dx) && adjoin(operands.upstream) &&
                     adjoin(operands.dr) && lies_end_to_end(operands.gamma, features);
  if (!joins) return 1;
  Index const k = columns_of_whole_blocks<C>(operands.groups, most_joined_sums / features, columns);
  return static_cast<Index>(std::bit_floor(static_cast<std::size_t>(k)));
}

// Calls use(joined operands, their sums), and adds what is summed to `sums`, in order.
template <class Operands, class Use>
void with_joined_columns(Operands const& operands, Index features, Index k,
                         ParameterSums<typename Operands::C> const& sums, Use const& use) {
  using C = typename Operands::C;
  Operands joined = operands;
  JoinedParameter<decltype(joined.gamma)> gammas;
  joined.gamma = gammas.of(operands.gamma, features, k);
  joined.groups *= k;
  for (auto* matrix : {&joined.dy, &joined.x, &joined.upstream}) matrix->stride *= k;
  for (auto* matrix : {&joined.dx, &joined.dr}) matrix->stride *= k;
  C memory[2 * most_joined_sums + sums_gap + sums_modulus / sizeof(C)];
  C* const dgamma = placed_after(operands.x.data, memory);
  C* const dbeta = dgamma + k * features + sums_gap;
  std::fill_n(dgamma, 2 * k * features + sums_gap, C(0));
  use(joined, ParameterSums<C>{dgamma, dbeta});
  for (Index copy = 0; copy < k; ++copy) {
    for (Index i = 0; i < features; ++i) {
      sums.dgamma[i] += dgamma[copy * features + i];
      sums.dbeta[i] += dbeta[copy * features + i];
    }
  }
}

}  // namespace foldnorm::detail
