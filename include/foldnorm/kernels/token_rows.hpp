// SPDX-License-Identifier: MIT
// foldnorm/kernels/token_rows.hpp -- norms for code that has pointers: row-major [tokens, features] tensors.
//
// The same bytes are this library's features x tokens, column-major, so nothing is copied. `view` makes any other
// kernel usable on such a tensor.
#pragma once

#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace foldnorm::inline FOLDNORM_ABI {

// A row-major tensor of `tokens` rows; `stride` values from one row to the next. Refers to the caller's memory.
template <class T>
class TokenRows {
 public:
  using Scalar = std::remove_const_t<T>;

  // Throws std::invalid_argument for negative sizes, and for a stride below `features` if there is more than one row.
  TokenRows(T* data, Index tokens, Index features, Index stride)
      : data_(data), tokens_(tokens), features_(features), stride_(stride) {
    if (tokens < 0 || features < 0 || (tokens > 1 && stride < features)) {
      detail::raise<std::invalid_argument>("TokenRows: tokens, features, stride: " + std::to_string(tokens) + ", " +
                                           std::to_string(features) + ", " + std::to_string(stride));
    }
  }
  TokenRows(T* data, Index tokens, Index features) : TokenRows(data, tokens, features, features) {}
  // All of a span: its size is a multiple of `features`, else std::invalid_argument.
  TokenRows(std::span<T> values, Index features)
      : TokenRows(values.data(), features > 0 ? static_cast<Index>(values.size()) / features : 0, features) {
    if (tokens_ * features_ != static_cast<Index>(values.size())) {
      detail::raise<std::invalid_argument>("TokenRows: a span of " + std::to_string(values.size()) +
                                           " values, features: " + std::to_string(features));
    }
  }

  Index tokens() const { return tokens_; }
  Index features() const { return features_; }

  using View = Eigen::Map<std::conditional_t<std::is_const_v<T>, Matrix<Scalar> const, Matrix<Scalar>>,
                          Eigen::Unaligned, Eigen::OuterStride<>>;
  View view() const { return View(data_, features_, tokens_, Eigen::OuterStride<>(stride_)); }  // features x tokens

 private:
  T* data_;
  Index tokens_, features_, stride_;
};

namespace detail {

// Calls norm(gamma, beta) with vectors over the pointers, and `none` for null ones.
template <class P, class Norm>
void with_parameters(P const* gamma, P const* beta, Index features, Norm norm) {
  Eigen::Map<Vector<P> const> const gain(gamma, gamma ? features : 0), shift(beta, beta ? features : 0);
  if (gamma && beta) {
    norm(gain, shift);
  } else if (gamma) {
    norm(gain, none);
  } else if (beta) {
    norm(none, shift);
  } else {
    norm(none, none);
  }
}

}  // namespace detail

// layer_norm (rms_norm) of every row of x into the rows of y, which may be x itself. gamma, beta: `features` values
// each, or null. Everything else as layer_norm.hpp (rms_norm.hpp) says.
template <storage_scalar T>
void layer_norm_rows(TokenRows<T const> x, T const* gamma, T const* beta, Compute<T> eps, TokenRows<T> y,
                     Accuracy accuracy = Accuracy::fast) {
  detail::with_parameters(gamma, beta, x.features(), [&](auto const& gain, auto const& shift) {
    layer_norm(x.view(), gain, shift, eps, y.view(), accuracy);
  });
}
template <storage_scalar T>
void rms_norm_rows(TokenRows<T const> x, T const* gamma, T const* beta, Compute<T> eps, TokenRows<T> y,
                   Accuracy accuracy = Accuracy::fast) {
  detail::with_parameters(gamma, beta, x.features(), [&](auto const& gain, auto const& shift) {
    rms_norm(x.view(), gain, shift, eps, y.view(), accuracy);
  });
}

}  // namespace foldnorm::inline FOLDNORM_ABI
