// SPDX-License-Identifier: MIT
// foldnorm/fold/weight_layout.hpp -- a weight of any storage, seen as fibres along its output axis.
//
// A fibre holds one input's contribution to every output: a column of W (out x in), a (channel, tap) of a convolution,
// a token's vector in an embedding table. Centering a general linear layer's output is centering every fibre, whatever
// the storage; the function that names the storage says which axis is the output.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>

#include <concepts>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

// Scalars that weights are stored in: float, double, Eigen::half, Eigen::bfloat16.
template <class T>
concept weight_scalar = real_scalar<T> || std::same_as<T, Eigen::half> || std::same_as<T, Eigen::bfloat16>;

// `outputs` entries a fibre, output_stride apart; outer * inner fibres, at data + i * outer_stride + j * inner_stride.
// Not owned. Scalar is const where the weight is only read.
template <class Scalar>
requires weight_scalar<std::remove_const_t<Scalar>>
struct WeightLayout {
  Scalar* data = nullptr;
  Index outputs = 0;
  Index output_stride = 1;
  Index outer = 1;
  Index outer_stride = 0;
  Index inner = 1;
  Index inner_stride = 0;
  Index taps = 1;  // neighbouring fibres that read the same input: those of a convolution

  Index fibres() const { return outer * inner; }
  Index inputs() const { return taps > 0 ? fibres() / taps : 0; }
  Scalar* fibre(Index f) const { return data + (f / inner) * outer_stride + (f % inner) * inner_stride; }
};

// Any Eigen matrix, vector, block or Map whose entries can be addressed.
template <class W>
concept weight_matrix = weight_scalar<typename std::remove_cvref_t<W>::Scalar> && requires(W& w) {
  w.data();
  w.innerStride();
  w.outerStride();
};
// ... and written.
template <class W>
concept writable_matrix =
    weight_matrix<W> && !std::is_const_v<std::remove_pointer_t<decltype(std::declval<W&>().data())>>;
// ... and is no row vector, which as a 1 x in weight would become 0.
template <class W>
concept foldable_matrix = writable_matrix<W> &&
    (std::remove_cvref_t<W>::RowsAtCompileTime != 1 || std::remove_cvref_t<W>::ColsAtCompileTime == 1);

namespace detail {

template <class W>
auto matrix_layout(W& w, bool outputs_are_rows) {
  using Pointer = decltype(w.data());
  Index const row_stride = W::IsRowMajor ? w.outerStride() : w.innerStride();
  Index const column_stride = W::IsRowMajor ? w.innerStride() : w.outerStride();
  WeightLayout<std::remove_pointer_t<Pointer>> layout;
  layout.data = w.data();
  layout.outputs = outputs_are_rows ? w.rows() : w.cols();
  layout.output_stride = outputs_are_rows ? row_stride : column_stride;
  layout.inner = outputs_are_rows ? w.cols() : w.rows();
  layout.inner_stride = outputs_are_rows ? column_stride : row_stride;
  return layout;
}

// A bias of so many outputs, whichever way it lies.
template <weight_matrix B>
auto bias_layout(B& b, Index outputs, char const* function) {
  bool const lies = b.rows() == 1 && outputs != 1;
  check_size(lies ? b.cols() : b.rows(), outputs, {function, "bias"});
  check_size(lies ? b.rows() : b.cols(), 1, {function, "columns of the bias"});
  return matrix_layout(b, !lies);
}

inline void check_counts(char const* function, std::initializer_list<Index> counts) {
  for (Index const count : counts) {
    if (count < 0)
      detail::raise<std::invalid_argument>(std::string(function) + ": negative size " + std::to_string(count));
  }
}

}  // namespace detail

// W is out x in (y = W x), a features x vocabulary table, or a vector of outputs, in either storage order.
template <weight_matrix W>
auto out_by_in(W&& w) {
  return detail::matrix_layout(w, true);
}

// W is in x out (y = W^T x), or a vocabulary x features table, in either storage order.
template <weight_matrix W>
auto in_by_out(W&& w) {
  return detail::matrix_layout(w, false);
}

// A dense convolution's kernel [out, in, taps...], the last index fastest (taps: the product of the kernel's extents).
// Grouped and depthwise kernels are NOT general linear layers: one group may only be centered by itself, and only where
// the norm works on that group alone.
template <class Scalar>
requires weight_scalar<std::remove_const_t<Scalar>> WeightLayout<Scalar> convolution_kernel(Scalar* data, Index out,
                                                                                            Index in, Index taps) {
  detail::check_counts("convolution_kernel", {out, in, taps});
  return {data, out, in * taps, 1, 0, in * taps, 1, taps};
}

// A dense transposed convolution's kernel [in, out, taps...], the last index fastest.
template <class Scalar>
requires weight_scalar<std::remove_const_t<Scalar>> WeightLayout<Scalar> transposed_convolution_kernel(Scalar* data,
                                                                                                       Index in,
                                                                                                       Index out,
                                                                                                       Index taps) {
  detail::check_counts("transposed_convolution_kernel", {in, out, taps});
  return {data, out, taps, in, out * taps, taps, 1, taps};
}

}  // namespace foldnorm::inline FOLDNORM_ABI
