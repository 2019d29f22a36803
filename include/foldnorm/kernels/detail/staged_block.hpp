// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/staged_block.hpp -- a few samples copied to where a whole block of them can be worked on.
//
// Samples at the end of a matrix, or spread over columns, then take the path of all others and get the same bits.
#pragma once

#include <foldnorm/kernels/detail/operands.hpp>

#include <algorithm>

namespace foldnorm::detail {

// `capacity` samples of d features, side by side; those beyond the first `count` repeat the last of them.
template <class Operands, int d, int capacity>
class StagedBlock {
  using T = typename Operands::T;
  static constexpr Index size = Index{d} * capacity;
  static constexpr Index stride = d;  // samples are groups of one column, or columns

 public:
  StagedBlock(Operands const& operands, Index first, int count) : operands_(operands), first_(first), count_(count) {}

  // The same operands over the copies: `capacity` columns, or one column of so many groups.
  Operands copy_in() {
    return {.source = staged(operands_.source),
            .gamma = staged(operands_.gamma, gamma_),
            .beta = staged(operands_.beta, beta_),
            .y = {y_, stride},
            .groups = capacity,
            .norm_size = d,
            .eps = operands_.eps,
            .statistics = operands_.statistics ? statistics_ : nullptr};
  }
  void copy_out() {
    for (int i = 0; i < count_; ++i) {
      std::copy_n(y_ + i * d, d, at(operands_.y, i));
      if (operands_.statistics) operands_.statistics[first_ + i] = statistics_[i];
    }
    copy_sum_out(operands_.source);
  }

 private:
  // Holds nothing where there is nothing to copy.
  template <class P>
  struct Buffer {
    P values[size];
  };
  struct NoBuffer {};
  template <class P, bool per_feature>
  static Buffer<P> buffer_for(ParameterColumns<P, per_feature>);
  static NoBuffer buffer_for(NoParameter);
  template <class P>
  static Buffer<P> buffer_for(PassingSumColumns<P>);
  template <class P>
  static Buffer<P> buffer_for(KeptSumColumns<P>);
  static NoBuffer buffer_for(PlainColumns<T>);

  template <class P>
  P* at(Columns<P> const& columns, int i, bool per_feature = false) const {
    Index const number = first_ + std::min(i, count_ - 1);
    return columns.at(per_feature ? 0 : operands_.column_of(number), operands_.feature_of(number));
  }
  template <class P>
  Columns<P const> copied(Columns<P const> const& from, P* to, bool per_feature = false) const {
    for (int i = 0; i < capacity; ++i) std::copy_n(at(from, i, per_feature), d, to + i * d);
    return {to, stride};
  }

  template <class P, bool per_feature>
  ParameterColumns<P, per_feature> staged(ParameterColumns<P, per_feature> const& from, Buffer<P>& to) const {
    if (per_feature && !Operands::grouped) return from;
    return {copied(from.columns, to.values, per_feature)};
  }
  NoParameter staged(NoParameter, NoBuffer&) const { return {}; }
  PlainColumns<T> staged(PlainColumns<T> const& from) { return {copied(from.x, x_)}; }
  PassingSumColumns<T> staged(PassingSumColumns<T> const& from) {
    return {copied(from.x, x_), copied(from.r, r_.values), from.alpha};
  }
  KeptSumColumns<T> staged(KeptSumColumns<T> const& from) { return {staged(from.sum), {s_, stride}}; }

  template <class Source>
  void copy_sum_out(Source const& source) {
    if constexpr (requires { source.s; }) {
      for (int i = 0; i < count_; ++i) std::copy_n(s_ + i * d, d, at(source.s, i));
    }
  }

  Operands const& operands_;
  Index first_;
  int count_;
  T x_[size], y_[size], s_[size];
  decltype(buffer_for(Operands::source)) r_;
  decltype(buffer_for(Operands::gamma)) gamma_;
  decltype(buffer_for(Operands::beta)) beta_;
  SampleStatistics statistics_[capacity];
};

}  // namespace foldnorm::detail
