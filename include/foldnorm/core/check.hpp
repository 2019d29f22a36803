// SPDX-License-Identifier: MIT
// foldnorm/core/check.hpp -- argument checks: always on, once per public call, before anything is written.
//
// Every message names the function and its arguments and gives both shapes: "center: x, y: 7x5 vs 7x6".
#pragma once

#include <foldnorm/core/types.hpp>

#include <cmath>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace foldnorm {

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

template <class A, class B>
void check_same_shape(A const& a, B const& b, ArgumentNames const& what) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) {
    throw shape_error(what.text() + ": " + shape_text(a.rows(), a.cols()) + " vs " + shape_text(b.rows(), b.cols()));
  }
}

inline void check_size(Index actual, Index expected, ArgumentNames const& what) {
  if (actual != expected) {
    throw shape_error(what.text() + ": size " + std::to_string(actual) + ", expected " + std::to_string(expected));
  }
}

// An optional argument is either absent or of the expected size.
template <class V>
void check_optional_size(V const& v, Index expected, ArgumentNames const& what) {
  if (v.present()) check_size(v.size(), expected, what);
}

template <real_scalar Scalar>
void check_epsilon(Scalar eps, char const* function) {
  if (!(std::isfinite(eps) && eps >= 0)) {
    throw std::invalid_argument(std::string(function) + ": eps is " + std::to_string(eps) +
                                ", expected a finite number >= 0");
  }
}

// Do two column-major views share an element? Decided by address; views of one matrix that take different rows of the
// same columns (m.topRows(k), m.bottomRows(k)) do not, although their address ranges cross.
template <class A, class B>
bool views_overlap(A const& a, B const& b) {
  if (a.size() == 0 || b.size() == 0) return false;
  auto const begin = [](auto const& m) { return reinterpret_cast<std::intptr_t>(m.data()); };
  auto const end = [&](auto const& m) {
    return begin(m) + ((m.cols() - 1) * m.outerStride() + m.rows()) * static_cast<Index>(sizeof *m.data());
  };
  if (begin(a) >= end(b) || begin(b) >= end(a)) return false;
  if (a.outerStride() != b.outerStride()) return true;
  auto const size = static_cast<Index>(sizeof *a.data());
  Index const stride = a.outerStride() * size;
  Index const offset = ((begin(b) - begin(a)) % stride + stride) % stride;  // of b's columns within a's stride
  return offset < a.rows() * size || offset + b.rows() * size > stride;
}

// Two views of one memory are safe for a kernel that works sample by sample when they are the same view (in place) or
// do not meet at all; anything between would overwrite samples that are still to be read.
template <class A, class B>
void check_no_partial_overlap(A const& a, B const& b, ArgumentNames const& what) {
  bool const same_columns = a.cols() == 1 || a.outerStride() == b.outerStride();
  if (a.data() == b.data() && same_columns) return;
  if (views_overlap(a, b)) {
    throw std::invalid_argument(what.text() + ": overlap in memory without being the same view");
  }
}

// A vector that is read (or written) for every sample must not lie inside what is written for one of them.
template <class V, class M>
void check_vector_apart(V const& vector, M const& written, ArgumentNames const& what) {
  if (vector.size() == 0 || written.size() == 0) return;
  std::less<void const*> const before;
  auto const* const end = written.data() + (written.cols() - 1) * written.outerStride() + written.rows();
  if (before(vector.data(), end) && before(written.data(), vector.data() + vector.size())) {
    throw std::invalid_argument(what.text() + ": overlap in memory");
  }
}

}  // namespace foldnorm
