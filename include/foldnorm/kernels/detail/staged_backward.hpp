// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/staged_backward.hpp -- a few short groups copied to where a whole block can be worked on.
//
// staged_block.hpp for the backward. The groups lie side by side in one column, and share packs with what may not be
// read or written; their running sums are copied as well.
#pragma once

#include <foldnorm/kernels/detail/backward_operands.hpp>

#include <algorithm>
#include <utility>

namespace foldnorm::detail {

// `capacity` groups of d features, of which there are `count`; the features of the others are 0.
template <class Operands, int d, int capacity>
class StagedBackward {
  using T = typename Operands::T;
  using C = typename Operands::C;
  static constexpr int size = d * capacity;

 public:
  StagedBackward(Operands const& operands, Index first, int count, ParameterSums<C> const& all_sums)
      : operands_(operands),
        sample_(operands.sample(first)),
        sums_(all_sums.from(operands.feature_of(first))),
        first_(first),
        features_(count * d) {}

  // The same operands over the copies: one column, whose groups are the samples from 0 on.
  Operands copy_in() {
    Operands copies = operands_;
    copies.dy = {copied(sample_.dy, dy_), 0};
    copies.x = {copied(sample_.x, x_), 0};
    copies.dx = {dx_, 0};
    if (sample_.upstream) copies.upstream = {copied(sample_.upstream, upstream_), 0};
    if constexpr (decltype(sample_.gamma)::present) copies.gamma.columns = {copied(sample_.gamma.data, gamma_), 0};
    copied(sums_.dgamma, dgamma_);
    copied(sums_.dbeta, dbeta_);
    copies.groups = capacity;
    copies.statistics += first_;
    return copies;
  }
  ParameterSums<C> sums() { return {dgamma_, dbeta_}; }
  void copy_out() {
    std::copy_n(dx_, features_, sample_.dx);
    std::copy_n(dgamma_, features_, sums_.dgamma);
    std::copy_n(dbeta_, features_, sums_.dbeta);
  }

 private:
  using Sample = decltype(std::declval<Operands const&>().sample(0));
  template <class P>
  static P stored(Values<P>);
  static T stored(Absent);

  template <class P>
  P* copied(P const* from, P* to) const {
    std::fill(std::copy_n(from, features_, to), to + size, P(0));
    return to;
  }

  Operands const& operands_;
  Sample sample_;
  ParameterSums<C> sums_;
  Index first_, features_;
  T dy_[size], x_[size], dx_[size], upstream_[size];
  decltype(stored(Sample::gamma)) gamma_[size];
  C dgamma_[size], dbeta_[size];
};

}  // namespace foldnorm::detail
