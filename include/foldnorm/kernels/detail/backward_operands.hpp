// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/backward_operands.hpp -- the samples of one backward call, and the sums over samples.
#pragma once

#include <foldnorm/kernels/detail/operands.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

namespace foldnorm::detail {

template <class T, class Gamma>
struct BackwardSample {
  T const* dy;
  T const* x;
  Gamma gamma;
  T const* upstream;  // added to dx; may be dx; null: nothing to add
  T* dx;
  T* dr;  // alpha * dx as well; null: not wanted
  Compute<T> alpha;
  FOLDNORM_INLINE BackwardSample from(Index k) const {
    return {dy + k, x + k, gamma.from(k), upstream ? upstream + k : nullptr, dx + k, dr ? dr + k : nullptr, alpha};
  }
};

template <bool is_grouped, storage_scalar Scalar, class GammaColumns>
struct BackwardOperands {
  static constexpr bool grouped = is_grouped;
  using T = Scalar;
  using C = Compute<T>;

  Columns<T const> dy, x;
  GammaColumns gamma;
  Columns<T const> upstream;
  Columns<T> dx, dr;
  C alpha = 1;
  Index groups = 1;  // of a column
  Index norm_size = 0;
  SampleStatistics const* statistics = nullptr;

  Index column_of(Index number) const { return grouped ? number / groups : number; }
  Index feature_of(Index number) const { return grouped ? number % groups * norm_size : 0; }
  FOLDNORM_INLINE auto at(Index column, Index feature, int next = 0) const {
    return BackwardSample<T, decltype(gamma.at(0, 0))>{dy.at(column, feature, next),
                                                       x.at(column, feature, next),
                                                       gamma.at(column, feature, next),
                                                       upstream.data ? upstream.at(column, feature, next) : nullptr,
                                                       dx.at(column, feature, next),
                                                       dr.data ? dr.at(column, feature, next) : nullptr,
                                                       alpha};
  }
  auto sample(Index number) const { return at(column_of(number), feature_of(number)); }
};

// Running sums over samples, from some feature on.
template <class P>
struct ParameterSums {
  P* dgamma;
  P* dbeta;
  ParameterSums from(Index feature) const { return {dgamma + feature, dbeta + feature}; }
};

}  // namespace foldnorm::detail
