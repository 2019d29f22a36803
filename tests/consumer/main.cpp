// SPDX-License-Identifier: MIT
// tests/consumer/main.cpp -- what a user's program does: fold a layer's weights, and see that nothing changed.
#include <foldnorm/foldnorm.hpp>

#include <cstdio>

#ifdef FOLDNORM_TWO_UNITS
foldnorm::Index nodes_of_a_graph();  // in another translation unit: the headers must link twice
#else
foldnorm::Index nodes_of_a_graph() { return 2; }
#endif

int main() {
  Eigen::MatrixXf W = Eigen::MatrixXf::Random(8, 3);
  Eigen::VectorXf b = Eigen::VectorXf::Random(8);
  Eigen::MatrixXf const x = Eigen::MatrixXf::Random(3, 5);
  Eigen::MatrixXf before(8, 5), after(8, 5);
  foldnorm::layer_norm((W * x).colwise() + b, foldnorm::none, foldnorm::none, 1e-5f, before);
  foldnorm::fold_centering(W, b);
  foldnorm::rms_norm((W * x).colwise() + b, foldnorm::none, foldnorm::none, 1e-5f, after);
  float const difference = (before - after).cwiseAbs().maxCoeff();
  std::printf("largest difference %g, nodes %td\n", static_cast<double>(difference), nodes_of_a_graph());
  return difference < 1e-5f && nodes_of_a_graph() == 2 ? 0 : 1;
}
