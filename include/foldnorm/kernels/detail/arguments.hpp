// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/arguments.hpp -- what callers pass for gamma and beta, bound to memory and checked.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/kernels/detail/operands.hpp>

namespace foldnorm::detail {

// Evaluates an expression once; refers to the caller's memory where it can. Throws as check_strides does.
template <class G>
class BoundParameter {
  using P = typename G::Scalar;
  static constexpr bool per_feature = G::IsVectorAtCompileTime;

 public:
  BoundParameter(G const& expression, ArgumentNames const& what) : view_(checked(expression, what)) {}

  template <class X>
  void check_shape(X const& x, ArgumentNames const& what) const {
    if constexpr (per_feature) {
      check_size(view_.size(), x.rows(), what);
    } else {
      check_same_shape(view_, x, what);
    }
  }
  template <class Y>
  void check_apart_from(Y const& y, ArgumentNames const& what) const {
    check_apart(view_, y, what);
  }
  ParameterColumns<P, per_feature> columns() const { return {{view_.data(), view_.outerStride()}}; }
  static constexpr Index passes = per_feature ? 0 : 1;  // over a matrix of the size of x

 private:
  static G const& checked(G const& expression, ArgumentNames const& what) {
    check_strides(expression, what);
    return expression;
  }

  std::conditional_t<per_feature, ConstVectorRef<P>, ConstMatrixRef<P>> view_;
};

template <>
class BoundParameter<none_t> {
 public:
  BoundParameter(none_t, ArgumentNames const&) {}
  void check_shape(auto const&, ArgumentNames const&) const {}
  void check_apart_from(auto const&, ArgumentNames const&) const {}
  NoParameter columns() const { return {}; }
  static constexpr Index passes = 0;
};

// An optional output as the overlap checks read it.
template <class P>
struct View {
  template <class Output>
  View(P* first, Output const& output)
      : first_(first), rows_(output.rows()), columns_(output.cols()), stride_(output.outerStride()) {}
  P const* data() const { return first_; }
  Index rows() const { return first_ ? rows_ : 0; }
  Index cols() const { return columns_; }
  Index outerStride() const { return stride_; }

 private:
  P* first_;
  Index rows_, columns_, stride_;
};

template <class M>
auto columns_of(M&& matrix) {
  return Columns<std::remove_pointer_t<decltype(matrix.data())>>{matrix.data(), matrix.outerStride()};
}

}  // namespace foldnorm::detail
