// SPDX-License-Identifier: MIT
// foldnorm/core/check.hpp -- argument checks: always on, once per public call, before anything is written.
//
// Every message names the function and its arguments and gives both shapes: "center: x, y: 7x5 vs 7x6".
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace foldnorm::inline FOLDNORM_ABI {

// Thrown where shapes disagree; catch std::invalid_argument for every mistake of the caller.
struct shape_error : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

inline std::string shape_text(Index rows, Index columns) {
  return std::to_string(rows) + "x" + std::to_string(columns);
}

// "function: first, second", put together only when a message needs it: kernels share checks under several names.
class ArgumentNames {
 public:
  ArgumentNames(char const* whole) : whole_(whole) {}  // NOLINT(google-explicit-constructor): a literal, in one piece
  ArgumentNames(char const* function, char const* arguments) : function_(function), whole_(arguments) {}
  std::string text() const { return function_ ? std::string(function_) + ": " + whole_ : std::string(whole_); }

 private:
  char const* function_ = nullptr;
  char const* whole_;
};

namespace detail {

// The messages, out of line: a call of some 100 ns makes a dozen checks, and should not pay for their words. Names are
// passed in registers, so that a check that passes stores nothing.
[[noreturn]] __attribute__((cold, noinline)) inline void throw_shape_error(Index rows, Index columns, Index other_rows,
                                                                           Index other_columns, ArgumentNames what) {
  detail::raise<shape_error>(what.text() + ": " + shape_text(rows, columns) + " vs " +
                             shape_text(other_rows, other_columns));
}
[[noreturn]] __attribute__((cold, noinline)) inline void throw_size_error(Index actual, Index expected,
                                                                          ArgumentNames what) {
  detail::raise<shape_error>(what.text() + ": size " + std::to_string(actual) + ", expected " +
                             std::to_string(expected));
}
[[noreturn]] __attribute__((cold, noinline)) inline void throw_invalid(ArgumentNames what, char const* fault) {
  detail::raise<std::invalid_argument>(what.text() + fault);
}
[[noreturn]] __attribute__((cold, noinline)) inline void throw_bad_epsilon(double eps, char const* function) {
  detail::raise<std::invalid_argument>(std::string(function) + ": eps is " + std::to_string(eps) +
                                       ", expected a finite number >= 0");
}

}  // namespace detail

template <class A, class B>
void check_same_shape(A const& a, B const& b, ArgumentNames const& what) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) [[unlikely]] {
    detail::throw_shape_error(a.rows(), a.cols(), b.rows(), b.cols(), what);
  }
}

inline void check_size(Index actual, Index expected, ArgumentNames const& what) {
  if (actual != expected) [[unlikely]]
    detail::throw_size_error(actual, expected, what);
}

// For constructors that hand a size on.
inline Index checked_not_negative(Index size, ArgumentNames const& what) {
  if (size < 0) [[unlikely]]
    detail::throw_invalid(what, " is negative");
  return size;
}

template <real_scalar Scalar>
void check_epsilon(Scalar eps, char const* function) {
  if (!(std::isfinite(eps) && eps >= 0)) [[unlikely]]
    detail::throw_bad_epsilon(static_cast<double>(eps), function);
}

namespace detail {

// Where a column-major view lies, in bytes; columns may run backwards (a negative stride).
struct ViewMemory {
  std::intptr_t first_column, columns, column_bytes, stride;

  template <class View>
  explicit ViewMemory(View const& view)
      : first_column(reinterpret_cast<std::intptr_t>(view.data())),
        columns(view.cols()),
        column_bytes(view.rows() * static_cast<std::intptr_t>(sizeof *view.data())),
        stride(view.outerStride() * static_cast<std::intptr_t>(sizeof *view.data())) {}
  // Of a view that has columns.
  std::intptr_t begin() const { return first_column + std::min<std::intptr_t>((columns - 1) * stride, 0); }
  std::intptr_t end() const { return first_column + std::max<std::intptr_t>((columns - 1) * stride, 0) + column_bytes; }
  std::intptr_t bytes() const { return columns * column_bytes; }
};

// What is left of views_overlap where address ranges meet. Out of line, since it is rare and divides.
__attribute__((cold, noinline)) inline bool columns_meet(std::intptr_t distance, std::intptr_t stride,
                                                         std::intptr_t other_stride, std::intptr_t column_bytes,
                                                         std::intptr_t other_column_bytes) {
  if (stride != other_stride || stride == 0) return true;
  stride = std::abs(stride);
  std::intptr_t const offset = (distance % stride + stride) % stride;  // of the other's columns in these
  return offset < column_bytes || offset + other_column_bytes > stride;
}

}  // namespace detail

// Do two column-major views share memory? Decided by address; views of one matrix that take different rows of the same
// columns (m.topRows(k), m.bottomRows(k)) do not, although their address ranges cross. With different strides ranges
// that cross count as shared.
template <class A, class B>
FOLDNORM_INLINE bool views_overlap(A const& first, B const& second) {
  detail::ViewMemory const a(first), b(second);
  return a.begin() < b.end() && b.begin() < a.end() && a.bytes() != 0 && b.bytes() != 0 &&
         detail::columns_meet(b.begin() - a.begin(), a.stride, b.stride, a.column_bytes, b.column_bytes);
}

// Two views of one memory are safe for a kernel that works sample by sample when they are the same view (in place) or
// do not meet at all; anything between would overwrite samples that are still to be read.
template <class A, class B>
FOLDNORM_INLINE void check_no_partial_overlap(A const& a, B const& b, ArgumentNames const& what) {
  bool const same_columns = a.cols() == 1 || a.outerStride() == b.outerStride();
  if (a.data() == b.data() && same_columns) return;
  if (views_overlap(a, b)) [[unlikely]]
    detail::throw_invalid(what, ": overlap in memory without being the same view");
}

// What is read (or written) for every sample must not lie inside what is written for one of them. A vector counts as a
// matrix of one column.
template <class A, class B>
FOLDNORM_INLINE void check_apart(A const& a, B const& b, ArgumentNames const& what) {
  if (views_overlap(a, b)) [[unlikely]]
    detail::throw_invalid(what, ": overlap in memory");
}

// Eigen's Ref takes an outer stride of 0 (one column shown many times) for "not set", and would read past the column.
template <class X>
void check_strides(Eigen::MatrixBase<X> const& x, ArgumentNames const& what) {
  if constexpr ((Eigen::internal::traits<X>::Flags & Eigen::DirectAccessBit) != 0) {
    if (x.derived().outerStride() == 0 && x.outerSize() > 1 && x.innerSize() > 0) {
      detail::throw_invalid(what, ": an outer stride of 0, expected distinct columns (see replicate)");
    }
  }
}
inline void check_strides(none_t, ArgumentNames const&) {}

}  // namespace foldnorm::inline FOLDNORM_ABI
