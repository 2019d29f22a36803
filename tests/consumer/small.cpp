// SPDX-License-Identifier: MIT
// tests/consumer/small.cpp -- a program that compiles in a few seconds: one header, one function of it.
#include <foldnorm/fold/centering.hpp>

int main() {
  Eigen::MatrixXf W = Eigen::MatrixXf::Random(8, 3);
  Eigen::VectorXf b = Eigen::VectorXf::Random(8);
  foldnorm::fold_centering(W, b);
  return W.colwise().sum().cwiseAbs().maxCoeff() < 1e-5f ? 0 : 1;
}
