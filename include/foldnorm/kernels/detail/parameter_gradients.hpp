// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/parameter_gradients.hpp -- dgamma and dbeta: partial sums of slices of columns, added in
// order.
//
// The slices depend on the shape alone, and so do the sums, whatever thread took which slice. A parameter given per
// feature and column has no sum: its column's terms are handed over as they are.
#pragma once

#include <foldnorm/kernels/backward_options.hpp>
#include <foldnorm/kernels/detail/backward_operands.hpp>
#include <foldnorm/kernels/detail/sums.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace foldnorm::detail {

// A float that takes 256 terms one after the other stays within 128 u of their sum, and threads find slices enough.
inline constexpr Index slice_columns = 256;

inline double term_value(float sum) { return static_cast<double>(sum); }
inline double term_value(double sum) { return sum; }
template <class C>
double term_value(ExactSum<C> const& sum) {
  return sum.total();
}

// The sums of a slice: dgamma's, a gap, dbeta's. A processor that compares the lower 12 bits of addresses first holds
// up a load that seems to follow a store to the same place. So sums lie 640 bytes on from x, modulo 1024 (a column's
// shift from the one before it is often a multiple of that), and dbeta's not a multiple of 4096 on from dgamma's: 1.2
// times the speed for 1024 features.
inline constexpr std::uintptr_t sums_after_x = 640;
inline constexpr std::uintptr_t sums_modulus = 1024;
inline constexpr Index sums_gap = 32;  // values
inline constexpr std::uintptr_t line_bytes = 64;

// Where in memory that has sums_modulus bytes to spare.
template <class P>
P* placed_after(void const* x, P* memory) {
  auto const address = [](void const* p) { return reinterpret_cast<std::uintptr_t>(p); };
  std::uintptr_t const wanted = address(x) / line_bytes * line_bytes + sums_after_x;
  return memory + (wanted - address(memory)) % sums_modulus / sizeof(P);
}

// P: what a sum is held in. T: storage of the norm.
template <class P, storage_scalar T>
class ParameterGradients {
 public:
  ParameterGradients(OptionalOutput<T> const& dgamma, OptionalOutput<T> const& dbeta, Index features, Index columns,
                     bool add, T const* x, NormWorkspace& workspace)
      : dgamma_(dgamma), dbeta_(dbeta), features_(features), columns_(columns), add_(add) {
    auto const spare = static_cast<Index>(sums_modulus / sizeof(P));
    sums_ = placed_after(x, workspace.reserve<P>(static_cast<std::size_t>(slices() * slice_size() + spare)));
  }
  Index slices() const { return (columns_ + slice_columns - 1) / slice_columns; }
  Index slice_size() const { return 2 * (features_ + sums_gap); }

  // Calls run(begin, end, sums) over all columns of a slice.
  template <class Run>
  void slice(Index number, Run run) const {
    Index const begin = number * slice_columns, end = std::min(columns_, begin + slice_columns);
    ParameterSums<P> const sums = sums_of(number);
    std::fill_n(sums.dgamma, slice_size(), P{});
    if (!by_column(dgamma_) && !by_column(dbeta_)) return run(begin, end, sums);
    for (Index column = begin; column < end; ++column) {
      run(column, column + 1, sums);
      hand_over(dgamma_, sums.dgamma, column);
      hand_over(dbeta_, sums.dbeta, column);
    }
  }

  // Once all slices are done.
  void finish() const {
    if (dgamma_.present() && dgamma_.is_vector()) add_slices(dgamma_, 0);
    if (dbeta_.present() && dbeta_.is_vector()) add_slices(dbeta_, features_ + sums_gap);
  }

 private:
  static bool by_column(OptionalOutput<T> const& output) { return output.present() && !output.is_vector(); }
  ParameterSums<P> sums_of(Index slice) const {
    P* const first = sums_ + slice_size() * slice;
    return {first, first + features_ + sums_gap};
  }

  void hand_over(OptionalOutput<T> const& output, P* terms, Index column) const {
    if (!by_column(output)) return;
    output.visit([&](auto* to) {
      for (Index i = 0; i < features_; ++i) put(to[column * output.outerStride() + i], term_value(terms[i]));
    });
    std::fill_n(terms, features_, P{});
  }
  void add_slices(OptionalOutput<T> const& output, Index offset) const {
    output.visit([&](auto* to) {
      P const* const sums = sums_ + offset;
      if (slices() == 1) {
        for (Index i = 0; i < features_; ++i) put(to[i], term_value(sums[i]));
        return;
      }
      for (Index i = 0; i < features_; ++i) {
        ExactSum<Compute<T>> sum;
        for (Index s = 0; s < slices(); ++s) sum.add(term_value(sums[slice_size() * s + i]));
        put(to[i], sum.total());
      }
    });
  }
  template <class Q>
  void put(Q& to, double value) const {
    to = static_cast<Q>(add_ ? static_cast<double>(to) + value : value);
  }

  OptionalOutput<T> const& dgamma_;
  OptionalOutput<T> const& dbeta_;
  Index features_, columns_;
  bool add_;
  P* sums_ = nullptr;
};

}  // namespace foldnorm::detail
