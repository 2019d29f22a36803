// SPDX-License-Identifier: MIT
// foldnorm/core/types.hpp -- the scalars, matrices and views every other header speaks in.
//
// The one convention of the library: a sample (token) is a COLUMN. Matrices are features x samples, column-major, so
// the features of one sample lie next to each other. The same bytes are a row-major [samples, features] tensor.
#pragma once

#include <Eigen/Core>

#include <concepts>
#include <type_traits>

// Compensated sums and the rules for NaN are meaningless to a compiler that may reorder sums or assume finite values.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "foldnorm does not support -ffast-math (nor -ffinite-math-only): compile this translation unit without it"
#endif

namespace foldnorm {

using Index = Eigen::Index;

// The scalars in which the kernels store and compute.
template <class T>
concept real_scalar = std::same_as<T, float> || std::same_as<T, double>;

template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
template <class Scalar>
using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

// What kernels write: any column-major lvalue with contiguous columns (matrix, block, column range, Map with an outer
// stride). A row-major or transposed output does not convert, at compile time.
template <class Scalar>
using MatrixRef = Eigen::Ref<Matrix<Scalar>, 0, Eigen::OuterStride<>>;
template <class Scalar>
using VectorRef = Eigen::Ref<Vector<Scalar>>;

// What kernels read once a caller's argument is bound: no copy of a matrix, block or column range; expressions are
// evaluated once, and row-major, transposed or inner-strided arguments are copied once.
template <class Scalar>
using ConstMatrixRef = Eigen::Ref<Matrix<Scalar> const, 0, Eigen::OuterStride<>>;
template <class Scalar>
using ConstVectorRef = Eigen::Ref<Vector<Scalar> const>;

// A matrix-shaped Eigen expression over a scalar that the kernels know.
template <class X>
concept dense_expression = std::derived_from<X, Eigen::MatrixBase<X>> && real_scalar<typename X::Scalar>;

// "No such argument": layer_norm(x, none, none, eps, y) has neither gamma nor beta.
struct none_t {};
inline constexpr none_t none{};

// A vector argument that may be absent. Converts from `none`, {} and any vector expression of the right scalar; it
// refers to the caller's data (a copy is held only where ConstVectorRef copies), so it must not outlive the call.
template <real_scalar Scalar>
class OptionalVector {
 public:
  OptionalVector() : view_(Eigen::Map<Vector<Scalar> const>(nullptr, 0)), present_(false) {}
  OptionalVector(none_t)
      : OptionalVector() {}  // NOLINT(google-explicit-constructor): an argument type, meant to convert
  template <class V>
  requires std::same_as<typename V::Scalar, Scalar> OptionalVector(
      Eigen::MatrixBase<V> const& vector)  // NOLINT(google-explicit-constructor)
      : view_(vector.derived()), present_(true) {}
  OptionalVector(OptionalVector const&) = delete;
  OptionalVector& operator=(OptionalVector const&) = delete;

  bool present() const { return present_; }
  Index size() const { return view_.size(); }
  Scalar const* data() const { return view_.data(); }

 private:
  ConstVectorRef<Scalar> view_;
  bool present_;
};

// A vector to be written that the caller may not want (`none`, {}).
template <real_scalar Scalar>
class OptionalVectorRef {
 public:
  OptionalVectorRef() = default;
  OptionalVectorRef(none_t) {}  // NOLINT(google-explicit-constructor): an argument type, meant to convert
  template <class V>
  requires std::convertible_to<V&, VectorRef<Scalar>> OptionalVectorRef(V& vector)
      : OptionalVectorRef(VectorRef<Scalar>(vector)) {}  // NOLINT(google-explicit-constructor)
  // m.col(0) is a temporary.
  template <class V>
  requires std::same_as<typename V::Scalar, Scalar> && std::convertible_to<V&, VectorRef<Scalar>> OptionalVectorRef(
      Eigen::MatrixBase<V> const&& block)  // NOLINT(google-explicit-constructor)
      : OptionalVectorRef(VectorRef<Scalar>(block.const_cast_derived())) {}
  OptionalVectorRef(OptionalVectorRef const&) = delete;
  OptionalVectorRef& operator=(OptionalVectorRef const&) = delete;

  bool present() const { return present_; }
  Index size() const { return size_; }
  Scalar* data() { return data_; }
  Scalar const* data() const { return data_; }

 private:
  explicit OptionalVectorRef(VectorRef<Scalar>&& view) : data_(view.data()), size_(view.size()), present_(true) {}

  Scalar* data_ = nullptr;
  Index size_ = 0;
  bool present_ = false;
};

}  // namespace foldnorm
