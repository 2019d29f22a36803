// SPDX-License-Identifier: MIT
// foldnorm/layers/convolution.hpp -- a convolution over the tokens of sequences, zeros outside, of the same length.
//
//   y_j  = b + sum_t W_t x_{j + t - h}       t = 0 .. kernel - 1,   h = (kernel - 1) / 2
//   dx_j = sum_t W_t^T dy_{j - t + h},   dW_t = sum_j dy_j x_{j + t - h}^T,   db = dy 1
//
// The weight is out x (kernel * in), W_t its t-th block of columns: a tap is a linear layer, and kernel = 1 is one.
// Images: a convolution whose taps lie on a grid has a weight of the same form, out x (taps * in), and is centered the
// same way.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <string>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar_>
struct Convolution {
  using Scalar = Scalar_;

  Matrix<Scalar> weight;  // out x (kernel * in)
  Vector<Scalar> bias;    // out
  Index tokens = 0;       // of a sequence: every so many columns another one begins; 0: all columns are one sequence

  // Zeros. kernel: odd. Throws std::invalid_argument for a negative size.
  Convolution(Index in, Index out, Index kernel, Index sequence_tokens = 0)
      : Convolution(Matrix<Scalar>::Zero(checked_not_negative(out, "Convolution: out"),
                                         checked_not_negative(kernel, "Convolution: kernel") *
                                             checked_not_negative(in, "Convolution: in")),
                    Vector<Scalar>::Zero(checked_not_negative(out, "Convolution: out")), kernel, sequence_tokens) {}
  // Throws std::invalid_argument for an even kernel, or one that does not divide the weight's columns; shape_error for
  // a bias of another size.
  Convolution(Matrix<Scalar> w, Vector<Scalar> b, Index kernel, Index sequence_tokens = 0)
      : weight(std::move(w)), bias(std::move(b)), tokens(sequence_tokens), kernel_(kernel) {
    check_bias("Convolution");
    if (kernel < 1 || kernel % 2 == 0 || weight.cols() % kernel != 0) {
      std::string const fault = " is " + std::to_string(kernel) + ", not an odd divisor of the weight's " +
                                std::to_string(weight.cols()) + " columns";
      detail::throw_invalid("Convolution: kernel", fault.c_str());
    }
    if (tokens < 0) detail::throw_invalid("Convolution: tokens", " are negative");
  }

  Index kernel() const { return kernel_; }
  Index in_features() const { return weight.cols() / kernel_; }
  Index out_features() const { return weight.rows(); }

  // x: in x n, whole sequences; y: out x n, apart from x.
  void forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y) const {
    check(x, y, "Convolution::forward", "features of x", "features of y", "columns of x, y");
    check_apart(x, y, "Convolution::forward: x, y");
    y.colwise() = bias;
    for_each_tap(x.cols(), [&](Index t, Index to, Index from, Index count) {
      y.middleCols(to, count).noalias() += tap(weight, t) * x.middleCols(from, count);
    });
  }

  // Writes dx (in x n, apart from dy and x) and adds to the gradient's weight and bias.
  void backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> dx,
                Convolution& gradient) const {
    check(x, dy, "Convolution::backward", "features of x", "features of dy", "columns of x, dy");
    check_same_shape(x, dx, "Convolution::backward: x, dx");
    check_same_shape(weight, gradient.weight, "Convolution::backward: weight, gradient");
    check_same_shape(bias, gradient.bias, "Convolution::backward: bias, gradient");
    check_apart(dy, dx, "Convolution::backward: dy, dx");
    check_apart(x, dx, "Convolution::backward: x, dx");
    gradient.bias += dy.rowwise().sum();
    dx.setZero();
    for_each_tap(x.cols(), [&](Index t, Index to, Index from, Index count) {
      tap(gradient.weight, t).noalias() += dy.middleCols(to, count) * x.middleCols(from, count).transpose();
      dx.middleCols(from, count).noalias() += tap(weight, t).transpose() * dy.middleCols(to, count);
    });
  }

  // Calls use(name, matrix or vector) for what training changes.
  template <class Use>
  void for_each_parameter(Use const& use) {
    use("weight", weight);
    use("bias", bias);
  }
  template <class Use>
  void for_each_parameter(Use const& use) const {
    use("weight", weight);
    use("bias", bias);
  }

 private:
  void check_bias(char const* function) const {
    check_size(bias.size(), weight.rows(), {function, "bias, of as many outputs as weight has"});
  }

  template <class W>
  auto tap(W& w, Index t) const {
    return w.middleCols(t * in_features(), in_features());
  }

  // Calls visit(tap, first output column, first input column, how many) wherever a tap meets tokens of a sequence.
  template <class Visit>
  void for_each_tap(Index columns, Visit const& visit) const {
    Index const length = tokens > 0 ? tokens : columns;
    for (Index begin = 0; begin < columns; begin += length) {
      for (Index t = 0; t < kernel_; ++t) {
        Index const shift = t - (kernel_ - 1) / 2;
        Index const count = length - std::abs(shift);
        if (count > 0) visit(t, begin + std::max<Index>(0, -shift), begin + std::max<Index>(0, shift), count);
      }
    }
  }

  void check(ConstMatrixRef<Scalar> const& x, ConstMatrixRef<Scalar> const& y, char const* function, char const* in,
             char const* out, char const* columns) const {
    check_bias(function);
    check_size(x.rows(), in_features(), {function, in});
    check_size(y.rows(), out_features(), {function, out});
    check_size(x.cols(), y.cols(), {function, columns});
    if (tokens > 0 && x.cols() % tokens != 0) {
      std::string const fault =
          " has " + std::to_string(x.cols()) + " columns, which are no whole sequences of " + std::to_string(tokens);
      detail::throw_invalid({function, "x"}, fault.c_str());
    }
  }

  Index kernel_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
