// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/operands.hpp -- all samples of one call, and where each of them lies.
//
// A sample is a group of norm_size consecutive features of one column; in a plain norm it is the column, and numbers of
// samples are columns. Groups are numbered column by column.
#pragma once

#include <foldnorm/kernels/detail/affine.hpp>
#include <foldnorm/kernels/detail/source.hpp>
#include <foldnorm/kernels/norm_statistics.hpp>

namespace foldnorm::detail {

// A matrix by its columns. at(j, i, k) is feature i of column j + k; told apart, so that addresses of neighbouring
// columns share all but the last addition.
template <class T>
struct Columns {
  T* data = nullptr;
  Index stride = 0;

  FOLDNORM_INLINE T* at(Index column, Index feature, int next = 0) const {
    return data + (column * stride + feature) + next * stride;
  }
};

// gamma or beta; per feature, all columns are the same one.
template <storage_scalar P, bool per_feature>
struct ParameterColumns {
  Columns<P const> columns;
  FOLDNORM_INLINE Values<P> at(Index column, Index feature, int next = 0) const {
    return {per_feature ? columns.at(0, feature) : columns.at(column, feature, next)};
  }
};
struct NoParameter {
  FOLDNORM_INLINE Absent at(Index, Index, int = 0) const { return {}; }
};

// Where samples come from; see source.hpp.
template <storage_scalar T>
struct PlainColumns {
  using Scalar = T;
  Columns<T const> x;
  FOLDNORM_INLINE Plain<T> at(Index column, Index feature, int next = 0) const { return {x.at(column, feature, next)}; }
};
template <storage_scalar T>
struct PassingSumColumns {
  using Scalar = T;
  Columns<T const> x, r;
  Compute<T> alpha;
  FOLDNORM_INLINE PassingSum<T> at(Index column, Index feature, int next = 0) const {
    return {x.at(column, feature, next), r.at(column, feature, next), alpha};
  }
};
template <storage_scalar T>
struct KeptSumColumns {
  using Scalar = T;
  PassingSumColumns<T> sum;
  Columns<T> s;
  FOLDNORM_INLINE KeptSum<T> at(Index column, Index feature, int next = 0) const {
    return {sum.at(column, feature, next), s.at(column, feature, next)};
  }
};

template <class Source, class Gamma, class Beta, class T>
struct Sample {
  Source source;
  Gamma gamma;
  Beta beta;
  T* y;
};

template <bool is_grouped, class SourceColumns, class GammaColumns, class BetaColumns>
struct Operands {
  static constexpr bool grouped = is_grouped;
  using T = typename SourceColumns::Scalar;
  using C = Compute<T>;

  SourceColumns source;
  GammaColumns gamma;
  BetaColumns beta;
  Columns<T> y;
  Index groups = 1;  // of a column
  Index norm_size = 0;
  C eps = 0;
  SampleStatistics* statistics = nullptr;  // of sample 0; null: not wanted
  bool in_place = false;                   // y is what is read

  Index column_of(Index number) const { return grouped ? number / groups : number; }
  Index feature_of(Index number) const { return grouped ? number % groups * norm_size : 0; }
  FOLDNORM_INLINE auto at(Index column, Index feature, int next = 0) const {
    using S = Sample<decltype(source.at(0, 0)), decltype(gamma.at(0, 0)), decltype(beta.at(0, 0)), T>;
    return S{source.at(column, feature, next), gamma.at(column, feature, next), beta.at(column, feature, next),
             y.at(column, feature, next)};
  }
  auto sample(Index number) const { return at(column_of(number), feature_of(number)); }
};

}  // namespace foldnorm::detail
