// SPDX-License-Identifier: MIT
// foldnorm/layers/linear.hpp -- the layer y = W x + b.
//
//   dx = W^T dy,   dW = dy x^T,   db = dy 1
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>

#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar_>
struct Linear {
  using Scalar = Scalar_;

  Matrix<Scalar> weight;  // out x in
  Vector<Scalar> bias;    // out

  // Zeros. Throws std::invalid_argument for a negative size.
  Linear(Index in, Index out)
      : Linear(Matrix<Scalar>::Zero(checked_not_negative(out, "Linear: out"), checked_not_negative(in, "Linear: in")),
               Vector<Scalar>::Zero(checked_not_negative(out, "Linear: out"))) {}
  // Throws shape_error if the sizes disagree.
  Linear(Matrix<Scalar> w, Vector<Scalar> b) : weight(std::move(w)), bias(std::move(b)) { check("Linear"); }

  Index in_features() const { return weight.cols(); }
  Index out_features() const { return weight.rows(); }

  // x: in x n, y: out x n, apart from x.
  void forward(ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> y) const {
    check("Linear::forward");
    check_size(x.rows(), in_features(), "Linear::forward: features of x");
    check_size(y.rows(), out_features(), "Linear::forward: features of y");
    check_size(y.cols(), x.cols(), "Linear::forward: columns of y");
    check_apart(x, y, "Linear::forward: x, y");
    y.noalias() = weight * x;
    y.colwise() += bias;
  }

  // Writes dx (in x n, apart from dy and x) and adds to the gradient's weight and bias.
  void backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x, MatrixRef<Scalar> dx,
                Linear& gradient) const {
    check_size(x.rows(), in_features(), "Linear::backward: features of x");
    check_size(dy.rows(), out_features(), "Linear::backward: features of dy");
    check_size(dy.cols(), x.cols(), "Linear::backward: columns of dy");
    check_same_shape(x, dx, "Linear::backward: x, dx");
    check("Linear::backward");
    check_same_shape(weight, gradient.weight, "Linear::backward: weight, gradient");
    check_same_shape(bias, gradient.bias, "Linear::backward: bias, gradient");
    check_apart(dy, dx, "Linear::backward: dy, dx");
    check_apart(x, dx, "Linear::backward: x, dx");
    gradient.weight.noalias() += dy * x.transpose();
    gradient.bias += dy.rowwise().sum();
    dx.noalias() = weight.transpose() * dy;
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
  void check(char const* function) const {
    check_size(bias.size(), weight.rows(), {function, "bias, of as many outputs as weight has"});
  }
};

}  // namespace foldnorm::inline FOLDNORM_ABI
