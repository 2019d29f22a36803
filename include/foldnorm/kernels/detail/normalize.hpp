// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/normalize.hpp -- the forward of every norm: check the arguments, choose a path, share
// columns.
//
// The path depends on norm_size and types alone, so that a sample's bits depend on nothing but the sample.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/parallel.hpp>
#include <foldnorm/kernels/detail/arguments.hpp>
#include <foldnorm/kernels/detail/joined_columns.hpp>
#include <foldnorm/kernels/detail/long_samples.hpp>
#include <foldnorm/kernels/detail/short_groups.hpp>
#include <foldnorm/kernels/detail/wide_parameters.hpp>

#include <bit>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace foldnorm::detail {

// Outputs from this size on go past the caches: with the input they fill a last-level cache of 32 MiB, and whatever
// reads them next would find only their end there.
inline constexpr Index streaming_bytes = Index{16} << 20;

// Where every sample begins at a pack's boundary, or where packs hold several samples, a column begins and ends there
// (its last block is counted from its end); long samples anywhere (whole_lines, line_buffer.hpp). `short_samples`:
// written in blocks.
template <class T>
bool streamable(Columns<T> const& y, Index features, Index norm_size, bool short_samples) {
  auto const address = static_cast<Index>(reinterpret_cast<std::uintptr_t>(y.data));
  auto const size = static_cast<Index>(sizeof(T)), bytes = norm_size * size;
  auto const aligned = [](Index offset) { return offset % pack_bytes == 0; };
  if (!short_samples && bytes >= bytes_worth_lines) return address % size == 0;
  bool const packs_hold_several = norm_size < width<Compute<T>>;
  return aligned(address) && aligned(y.stride * size) && aligned(packs_hold_several ? features * size : bytes);
}

template <class Norm, class Operands>
void normalize_long_samples(Operands const& operands, Traffic traffic, Index begin, Index end) {
  auto const run = [&]<class AnyOperands>(AnyOperands const& all) {
    LongSamples<Norm, AnyOperands>(all, traffic).normalize(begin, end);
  };
  if constexpr (may_widen<Operands>) {
    if (end - begin >= samples_worth_widening && operands.norm_size <= most_wide_features) {
      return with_wide_parameters(operands, run);
    }
  }
  run(operands);
}

// The fast kernel for samples begin .. end - 1. Columns shorter than a pack are too rare for a path of their own.
template <class Norm, class Operands>
void normalize_samples(Operands const& operands, Traffic traffic, Index begin, Index end) {
  using C = typename Operands::C;
  constexpr int shortest = Operands::grouped ? 2 : width<C>;
  if (is_short_group<C>(operands.norm_size) && operands.norm_size >= shortest) {
    unrolled_constants<std::bit_width(unsigned{longest_short_group<C> / shortest})>([&](auto power) {
      constexpr int d = shortest << power;
      if (operands.norm_size == d) ShortGroups<Norm, d, Operands>(operands, traffic).normalize(begin, end);
    });
    if (!std::has_single_bit(static_cast<std::size_t>(operands.norm_size))) {
      ShortGroups<Norm, any_size, Operands>(operands, traffic).normalize(begin, end);
    }
  } else {
    normalize_long_samples<Norm>(operands, traffic, begin, end);
  }
}

// A call's last three arguments under one name.
template <storage_scalar T>
struct NormCall {
  char const* function;
  NormStatistics<T>* statistics = nullptr;  // null: not wanted
  Accuracy accuracy = Accuracy::fast;
};

inline void check_norm_size(Index norm_size, Index features, char const* function) {
  if (norm_size < 1 || features % norm_size != 0) {
    detail::raise<std::invalid_argument>(std::string(function) + ": norm_size is " + std::to_string(norm_size) +
                                         ", expected a divisor of the features of x, " + std::to_string(features));
  }
}

// Precondition: all arguments are checked.
template <class Norm, bool grouped, class SourceColumns, class G, class B>
void normalize_checked(SourceColumns const& source, Index features, Index columns, Index norm_size,
                       BoundParameter<G> const& gamma, BoundParameter<B> const& beta,
                       Compute<typename SourceColumns::Scalar> eps, Columns<typename SourceColumns::Scalar> y,
                       bool in_place, Index passes, NormCall<typename SourceColumns::Scalar> const& call) {
  using T = typename SourceColumns::Scalar;
  Index const groups = grouped ? features / norm_size : 1;
  if (call.statistics) {
    call.statistics->features = features;
    call.statistics->norm_size = norm_size;
    call.statistics->samples.resize(static_cast<std::size_t>(groups * columns));
  }
  if (features == 0 || columns == 0) return;
  using AllOperands = Operands<grouped, SourceColumns, decltype(gamma.columns()), decltype(beta.columns())>;
  AllOperands const operands{source,
                             gamma.columns(),
                             beta.columns(),
                             y,
                             groups,
                             norm_size,
                             eps,
                             call.statistics ? call.statistics->samples.data() : nullptr,
                             in_place};

  Index const bytes = features * columns * static_cast<Index>(sizeof(T));
  bool const streams = real_scalar<T> && bytes >= streaming_bytes && !in_place &&
                       streamable(y, features, norm_size, is_short_group<Compute<T>>(norm_size));
  Traffic const traffic = streams ? Traffic::streamed : Traffic::cached;
  passes += BoundParameter<G>::passes + BoundParameter<B>::passes;
  if (call.accuracy == Accuracy::accurate) {
    share_columns(columns, bytes * passes, [&](Index begin, Index end) {
      normalize_samples_exactly<Norm, AllOperands>(operands, begin * groups, end * groups);
    });
    return;
  }
  auto const run = [&](AllOperands const& all, Index all_columns) {
    share_columns(all_columns, bytes * passes, [&](Index begin, Index end) {
      normalize_samples<Norm, AllOperands>(all, traffic, begin * all.groups, end * all.groups);
    });
  };
  if constexpr (grouped) {
    if (Index const k = columns_to_join(operands, features, columns); k > 1) {
      with_joined_columns(operands, features, columns, k, run);
      normalize_samples<Norm, AllOperands>(operands, traffic, columns / k * k * groups, columns * groups);
      return;
    }
  }
  run(operands, columns);
}

template <class X, class Y, class G, class B, class Eps>
FOLDNORM_INLINE void check_norm_arguments(X const& x, Y const& y, BoundParameter<G> const& gamma,
                                          BoundParameter<B> const& beta, Eps eps, char const* function) {
  check_same_shape(x, y, {function, "x, y"});
  gamma.check_shape(x, {function, "gamma, features of x"});
  beta.check_shape(x, {function, "beta, features of x"});
  check_epsilon(eps, function);
  check_no_partial_overlap(x, y, {function, "x, y"});
  gamma.check_apart_from(y, {function, "gamma, y"});
  beta.check_apart_from(y, {function, "beta, y"});
}

// y = norm(x), a sample a column.
template <class Norm, storage_scalar T, class G, class B>
void normalize(ConstMatrixRef<T> const& x, G const& gamma, B const& beta, Compute<T> eps, MatrixRef<T>& y,
               NormCall<T> const& call) {
  BoundParameter<G> const gain(gamma, {call.function, "gamma"});
  BoundParameter<B> const shift(beta, {call.function, "beta"});
  check_norm_arguments(x, y, gain, shift, eps, call.function);
  normalize_checked<Norm, false>(PlainColumns<T>{columns_of(x)}, x.rows(), x.cols(), x.rows(), gain, shift, eps,
                                 columns_of(y), x.data() == y.data(), 2, call);
}

// y = norm(x), a sample a group of norm_size features.
template <class Norm, storage_scalar T, class G, class B>
void normalize_groups(ConstMatrixRef<T> const& x, Index norm_size, G const& gamma, B const& beta, Compute<T> eps,
                      MatrixRef<T>& y, NormCall<T> const& call) {
  BoundParameter<G> const gain(gamma, {call.function, "gamma"});
  BoundParameter<B> const shift(beta, {call.function, "beta"});
  check_norm_arguments(x, y, gain, shift, eps, call.function);
  check_norm_size(norm_size, x.rows(), call.function);
  normalize_checked<Norm, true>(PlainColumns<T>{columns_of(x)}, x.rows(), x.cols(), norm_size, gain, shift, eps,
                                columns_of(y), x.data() == y.data(), 2, call);
}

}  // namespace foldnorm::detail
