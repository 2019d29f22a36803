// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/normalize_sum.hpp -- a residual sum and its norm in one go: s = x + alpha * r, y = norm(s).
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/kernels/detail/normalize.hpp>
#include <foldnorm/kernels/detail/normalize_backward.hpp>

#include <utility>

namespace foldnorm::detail {

// Writes that go over columns one by one may share memory with what is read in the same order, but not with each other.
template <storage_scalar T>
void check_written_sum(MatrixRef<T> const& s, ConstMatrixRef<T> const& x, ConstMatrixRef<T> const& r,
                       MatrixRef<T> const& y, char const* function) {
  check_same_shape(x, s, {function, "x, s"});
  check_no_partial_overlap(x, s, {function, "x, s"});
  check_no_partial_overlap(r, s, {function, "r, s"});
  check_apart(s, y, {function, "s, y"});
}

// S: MatrixRef<T>, or none_t.
template <class Norm, storage_scalar T, class S, class G, class B>
void normalize_sum(ConstMatrixRef<T> const& x, Compute<T> alpha, ConstMatrixRef<T> const& r, G const& gamma,
                   B const& beta, Compute<T> eps, S s, MatrixRef<T>& y, NormCall<T> const& call) {
  BoundParameter<G> const gain(gamma, {call.function, "gamma"});
  BoundParameter<B> const shift(beta, {call.function, "beta"});
  check_same_shape(x, r, {call.function, "x, r"});
  check_norm_arguments(x, y, gain, shift, eps, call.function);
  check_no_partial_overlap(r, y, {call.function, "r, y"});
  PassingSumColumns<T> const sum{columns_of(x), columns_of(r), alpha};
  bool const in_place = y.data() == x.data() || y.data() == r.data();
  if constexpr (std::same_as<S, none_t>) {
    normalize_checked<Norm, false>(sum, x.rows(), x.cols(), x.rows(), gain, shift, eps, columns_of(y), in_place, 3,
                                   call);
  } else {
    check_written_sum<T>(s, x, r, y, call.function);
    gain.check_apart_from(s, {call.function, "gamma, s"});
    shift.check_apart_from(s, {call.function, "beta, s"});
    normalize_checked<Norm, false>(KeptSumColumns<T>{sum, columns_of(s)}, x.rows(), x.cols(), x.rows(), gain, shift,
                                   eps, columns_of(y), in_place, 4, call);
  }
}

// dx = ds + the norm's gradient at s, dr = alpha * dx. DS: ConstMatrixRef<T> or none_t; DR: MatrixRef<T> or none_t.
template <class Norm, storage_scalar T, class DS, class DR, class G>
void normalize_sum_backward(BackwardInputs<T> const& in, DS const& ds, Compute<T> alpha, G const& gamma, DR dr,
                            BackwardOutputs<T> const& out, BackwardOptions const& options, char const* function) {
  BoundParameter<G> const gain(gamma, {function, "gamma"});
  check_backward_arguments(in, gain, out, false, function);
  if (options.add_to_dx) {
    detail::raise<std::invalid_argument>(std::string(function) + ": options.add_to_dx: pass what is there as ds");
  }
  bool in_place = in.dy.data() == out.dx.data() || in.x.data() == out.dx.data();
  BackwardOperands<false, T, decltype(gain.columns())> operands{.dy = columns_of(in.dy),
                                                                .x = columns_of(in.x),
                                                                .gamma = gain.columns(),
                                                                .upstream = {},
                                                                .dx = columns_of(out.dx),
                                                                .dr = {},
                                                                .alpha = alpha,
                                                                .groups = 1,
                                                                .norm_size = in.x.rows(),
                                                                .statistics = in.statistics.samples.data()};
  if constexpr (!std::same_as<DS, none_t>) {
    check_same_shape(in.dy, ds, {function, "dy, ds"});
    check_no_partial_overlap(ds, out.dx, {function, "ds, dx"});
    check_gradient_apart(out.dgamma, ds, {function, "dgamma, ds"});
    check_gradient_apart(out.dbeta, ds, {function, "dbeta, ds"});
    operands.upstream = columns_of(ds);
  }
  if constexpr (!std::same_as<DR, none_t>) {
    check_same_shape(in.dy, dr, {function, "dy, dr"});
    check_no_partial_overlap(in.dy, dr, {function, "dy, dr"});
    check_no_partial_overlap(in.x, dr, {function, "s, dr"});
    if constexpr (!std::same_as<DS, none_t>) check_no_partial_overlap(ds, dr, {function, "ds, dr"});
    check_apart(dr, out.dx, {function, "dr, dx"});
    check_gradient_apart(out.dgamma, dr, {function, "dgamma, dr"});
    check_gradient_apart(out.dbeta, dr, {function, "dbeta, dr"});
    gain.check_apart_from(dr, {function, "gamma, dr"});
    operands.dr = columns_of(dr);
  }
  if (in.x.rows() == 0) return;
  backward_checked<Norm>(operands, in.x.rows(), in.x.cols(), in_place || operands.upstream.data || operands.dr.data,
                         out.dgamma, out.dbeta, options);
}

}  // namespace foldnorm::detail
