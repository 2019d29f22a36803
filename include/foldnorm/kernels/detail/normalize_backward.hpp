// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/normalize_backward.hpp -- the backward of every norm: check, share slices of columns, add up.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/parallel.hpp>
#include <foldnorm/kernels/detail/arguments.hpp>
#include <foldnorm/kernels/detail/joined_backward.hpp>
#include <foldnorm/kernels/detail/normalize.hpp>
#include <foldnorm/kernels/detail/parameter_gradients.hpp>
#include <foldnorm/kernels/detail/short_groups_backward.hpp>

#include <bit>

namespace foldnorm::detail {

// What a backward writes.
template <storage_scalar T>
struct BackwardOutputs {
  MatrixRef<T>& dx;
  OptionalOutput<T> const& dgamma;
  OptionalOutput<T> const& dbeta;
};

// What is written for all samples must not lie in `matrix`, which is read or written sample by sample.
template <class T, class M>
void check_gradient_apart(OptionalOutput<T> const& gradient, M const& matrix, ArgumentNames const& what) {
  gradient.visit([&](auto* data) { check_apart(View{data, gradient}, matrix, what); });
}

// Does the blocked backward serve this norm_size?
template <class Operands>
bool is_short_for_backward(Index d) {
  constexpr int lanes = width<typename Operands::C>;
  if (d < lanes) return Operands::grouped && d >= 2 && (d & (d - 1)) == 0;
  return d % lanes == 0 && d <= longest_short_group<typename Operands::C>;
}

// The fast backward of samples begin .. end - 1, which are whole columns.
template <class Norm, Sums kept, class Operands>
void backward_samples(Operands const& operands, Traffic traffic, Index begin, Index end,
                      ParameterSums<typename Operands::C> const& sums) {
  constexpr int lanes = width<typename Operands::C>, shortest = Operands::grouped ? 2 : lanes;
  Index const d = operands.norm_size;
  if (!is_short_for_backward<Operands>(d)) {
    FastBackward<Norm, kept, Operands>(operands, traffic).run(begin, end, sums);
  } else if (d > lanes) {
    ShortGroupsBackward<Norm, any_size, Operands>(operands, traffic).run(begin, end, sums);
  } else {
    unrolled_constants<std::bit_width(unsigned{lanes / shortest})>([&](auto power) {
      constexpr int fixed = shortest << power;
      if (d == fixed) ShortGroupsBackward<Norm, fixed, Operands>(operands, traffic).run(begin, end, sums);
    });
  }
}

// The fast backward of columns begin .. end - 1 of a slice; of few short groups, several at a time.
template <class Norm, Sums kept, class Operands>
void backward_columns(Operands const& operands, Traffic traffic, Index features, Index begin, Index end,
                      ParameterSums<typename Operands::C> const& sums) {
  if constexpr (Operands::grouped) {
    Index const k = is_short_for_backward<Operands>(operands.norm_size)
                        ? backward_columns_to_join(operands, features, end - begin)
                        : 1;
    if (k > 1) {
      Index const joined_end = begin + (end - begin) / k * k;
      with_joined_columns(operands, features, k, sums, [&](Operands const& joined, auto const& joined_sums) {
        backward_samples<Norm, kept>(joined, traffic, begin * operands.groups, joined_end * operands.groups,
                                     joined_sums);
      });
      begin = joined_end;
    }
  }
  backward_samples<Norm, kept>(operands, traffic, begin * operands.groups, end * operands.groups, sums);
}

// Precondition: all arguments are checked.
template <class Norm, class Operands>
void backward_checked(Operands const& operands, Index features, Index columns, bool in_place,
                      OptionalOutput<typename Operands::T> const& dgamma,
                      OptionalOutput<typename Operands::T> const& dbeta, BackwardOptions const& options) {
  using T = typename Operands::T;
  using C = typename Operands::C;
  NormWorkspace own;
  NormWorkspace& workspace = options.workspace ? *options.workspace : own;
  Index const bytes = features * columns * static_cast<Index>(sizeof(T));
  auto const over_slices = [&](auto const& gradients, auto const& run) {
    share_columns(gradients.slices(), 3 * bytes, [&](Index begin, Index end) {
      for (Index s = begin; s < end; ++s) gradients.slice(s, run);
    });
    gradients.finish();
  };
  if (options.accuracy == Accuracy::accurate) {
    ParameterGradients<ExactSum<C>, T> const gradients(dgamma, dbeta, features, columns, options.add_to_parameters,
                                                       operands.x.data, workspace);
    over_slices(gradients, [&](Index begin, Index end, ParameterSums<ExactSum<C>> const& sums) {
      backward_samples_exactly<Norm>(operands, begin * operands.groups, end * operands.groups, sums);
    });
    return;
  }
  bool const streams =
      real_scalar<T> && bytes >= streaming_bytes && !in_place &&
      streamable(operands.dx, features, operands.norm_size, is_short_for_backward<Operands>(operands.norm_size));
  Traffic const traffic = streams ? Traffic::streamed : Traffic::cached;
  ParameterGradients<C, T> const gradients(dgamma, dbeta, features, columns, options.add_to_parameters, operands.x.data,
                                           workspace);
  over_slices(gradients, [&](Index begin, Index end, ParameterSums<C> const& sums) {
    if (dbeta.present() || !dgamma.present()) {
      backward_columns<Norm, Sums::both>(operands, traffic, features, begin, end, sums);
    } else {
      backward_columns<Norm, Sums::dgamma>(operands, traffic, features, begin, end, sums);
    }
  });
}

template <storage_scalar T>
struct BackwardInputs {
  ConstMatrixRef<T> const& dy;
  ConstMatrixRef<T> const& x;
  NormStatistics<T> const& statistics;
};

template <storage_scalar T>
void check_gradient(OptionalOutput<T> const& gradient, BackwardInputs<T> const& in, BackwardOutputs<T> const& out,
                    char const* function, char const* shape, char const* overlap) {
  if (!gradient.present()) return;
  if (gradient.is_vector()) {
    check_size(gradient.size(), in.x.rows(), {function, shape});
  } else {
    check_same_shape(gradient, in.x, {function, shape});
  }
  check_gradient_apart(gradient, out.dx, {function, overlap});
  check_gradient_apart(gradient, in.dy, {function, overlap});
  check_gradient_apart(gradient, in.x, {function, overlap});
}

// `grouped`: statistics may be of groups; else they are of whole columns.
template <storage_scalar T, class G>
void check_backward_arguments(BackwardInputs<T> const& in, BoundParameter<G> const& gamma,
                              BackwardOutputs<T> const& out, bool grouped, char const* function) {
  check_same_shape(in.dy, in.x, {function, "dy, x"});
  check_same_shape(in.dy, out.dx, {function, "dy, dx"});
  gamma.check_shape(in.x, {function, "gamma, features of x"});
  check_gradient(out.dgamma, in, out, function, "dgamma, features of x", "dgamma and dx, dy or x");
  check_gradient(out.dbeta, in, out, function, "dbeta, features of x", "dbeta and dx, dy or x");
  Index const features = in.x.rows();
  check_size(in.statistics.features, features, {function, "features of statistics, of x"});
  if (!grouped) check_size(in.statistics.norm_size, features, {function, "norm_size of statistics, features of x"});
  if (features > 0) check_norm_size(in.statistics.norm_size, features, function);
  Index const groups = features > 0 ? features / in.statistics.norm_size : 1;
  check_size(static_cast<Index>(in.statistics.samples.size()), grouped && features == 0 ? 0 : groups * in.x.cols(),
             {function, "samples of statistics, of x"});
  check_no_partial_overlap(in.dy, out.dx, {function, "dy, dx"});
  check_no_partial_overlap(in.x, out.dx, {function, "x, dx"});
  gamma.check_apart_from(out.dx, {function, "gamma, dx"});
  out.dgamma.visit([&](auto* data) {
    gamma.check_apart_from(View{data, out.dgamma}, {function, "gamma, dgamma"});
    check_gradient_apart(out.dbeta, View{data, out.dgamma}, {function, "dgamma, dbeta"});
  });
  out.dbeta.visit([&](auto* data) { gamma.check_apart_from(View{data, out.dbeta}, {function, "gamma, dbeta"}); });
}

// dx, dgamma, dbeta of norm(x).
template <class Norm, storage_scalar T, bool grouped, class G>
void normalize_backward(BackwardInputs<T> const& in, G const& gamma, BackwardOutputs<T> const& out,
                        BackwardOptions const& options, char const* function) {
  BoundParameter<G> const gain(gamma, {function, "gamma"});
  check_backward_arguments(in, gain, out, grouped, function);
  if (in.x.rows() == 0) return;
  Columns<T> const dx = columns_of(out.dx);
  BackwardOperands<grouped, T, decltype(gain.columns())> const operands{
      .dy = columns_of(in.dy),
      .x = columns_of(in.x),
      .gamma = gain.columns(),
      .upstream = {options.add_to_dx ? dx.data : nullptr, dx.stride},
      .dx = dx,
      .dr = {},
      .groups = in.x.rows() / in.statistics.norm_size,
      .norm_size = in.statistics.norm_size,
      .statistics = in.statistics.samples.data()};
  bool const in_place = in.dy.data() == dx.data || in.x.data() == dx.data;
  backward_checked<Norm>(operands, in.x.rows(), in.x.cols(), in_place || options.add_to_dx, out.dgamma, out.dbeta,
                         options);
}

}  // namespace foldnorm::detail
