// SPDX-License-Identifier: MIT
// foldnorm/core/types.hpp -- the scalars, matrices and views every other header speaks in.
//
// The one convention of the library: a sample (token) is a COLUMN. Matrices are features x samples, column-major, so
// the features of one sample lie next to each other. The same bytes are a row-major [samples, features] tensor.
#pragma once

#include <foldnorm/core/config.hpp>

#include <Eigen/Core>

#include <concepts>
#include <type_traits>

// Compensated sums and the rules for NaN are meaningless to a compiler that may reorder sums or assume finite values.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "foldnorm does not support -ffast-math (nor -ffinite-math-only): compile this translation unit without it"
#endif

namespace foldnorm::inline FOLDNORM_ABI {

using Index = Eigen::Index;

// The scalars in which kernels compute.
template <class T>
concept real_scalar = std::same_as<T, float> || std::same_as<T, double>;

// The scalars in which norms store: half and bfloat16 are computed in float and rounded once, when they are stored.
template <class T>
concept storage_scalar = real_scalar<T> || std::same_as<T, Eigen::half> || std::same_as<T, Eigen::bfloat16>;
template <storage_scalar T>
using Compute = std::conditional_t<std::same_as<T, double>, double, float>;

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

// A matrix-shaped Eigen expression over a scalar that kernels compute in, or that norms store.
template <class X>
concept dense_expression = std::derived_from<X, Eigen::MatrixBase<X>> && real_scalar<typename X::Scalar>;
template <class X>
concept stored_expression = requires(X const& x) {
  requires storage_scalar<typename X::Scalar>;
  []<class D>(Eigen::MatrixBase<D> const&) {}(x);  // derived, if not directly: a segment is a kind of block
};

// "No such argument": layer_norm(x, none, none, eps, y) has neither gamma nor beta.
struct none_t {};
inline constexpr none_t none{};

// gamma and beta of a norm over Scalar: `none`, or an expression over Scalar or over the type that it computes in. An
// expression that is a vector at compile time has one value per feature, any other one per feature and column.
template <class G, class Scalar>
concept norm_parameter = std::same_as<G, none_t> ||
    (stored_expression<G> &&
     (std::same_as<typename G::Scalar, Scalar> || std::same_as<typename G::Scalar, Compute<Scalar>>));

// What a gradient of a parameter can be written to.
template <class V, class Scalar>
concept gradient_memory =
    stored_expression<V> &&
    (std::same_as<typename V::Scalar, Scalar> ||
     std::same_as<typename V::Scalar, Compute<Scalar>>)&&std::convertible_to<V&, MatrixRef<typename V::Scalar>> &&
    (V::RowsAtCompileTime != 1 || V::ColsAtCompileTime == 1);

// A gradient that the caller may not want (`none`, {}): a vector for parameters per feature, a matrix for parameters
// per feature and column, over Scalar or the type it computes in. Refers to the caller's memory.
template <storage_scalar Scalar>
class OptionalOutput {
  using C = Compute<Scalar>;

 public:
  OptionalOutput() = default;
  OptionalOutput(none_t) {}  // NOLINT(google-explicit-constructor): an argument type, meant to convert
  template <class V>
  requires gradient_memory<V, Scalar> OptionalOutput(V& matrix)
      : OptionalOutput(MatrixRef<typename V::Scalar>(matrix), V::IsVectorAtCompileTime) {
  }  // NOLINT(google-explicit-constructor)
  // m.col(0) is a temporary.
  template <class V>
  requires gradient_memory<V, Scalar> OptionalOutput(
      Eigen::MatrixBase<V> const&& block)  // NOLINT(google-explicit-constructor)
      : OptionalOutput(MatrixRef<typename V::Scalar>(block.const_cast_derived()), V::IsVectorAtCompileTime) {}
  OptionalOutput(OptionalOutput const&) = delete;
  OptionalOutput& operator=(OptionalOutput const&) = delete;

  bool present() const { return present_; }
  bool is_vector() const { return vector_; }
  Index rows() const { return rows_; }
  Index cols() const { return columns_; }
  Index size() const { return rows_ * columns_; }
  Index outerStride() const { return stride_; }

  // Calls use(data) with a pointer to Scalar or to the type it computes in.
  template <class Use>
  void visit(Use use) const {
    if (computed_) {
      use(computed_);
    } else {
      use(stored_);
    }
  }

 private:
  template <class P>
  OptionalOutput(MatrixRef<P>&& view, bool vector)
      : rows_(view.rows()), columns_(view.cols()), stride_(view.outerStride()), present_(true), vector_(vector) {
    if constexpr (std::same_as<P, Scalar>) {
      stored_ = view.data();
    } else {
      computed_ = view.data();
    }
  }

  Scalar* stored_ = nullptr;
  C* computed_ = nullptr;
  Index rows_ = 0, columns_ = 0, stride_ = 0;
  bool present_ = false, vector_ = false;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
