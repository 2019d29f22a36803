// SPDX-License-Identifier: MIT
// tests/consumer/single_header.cpp -- the single header, found alone in its folder: kernels, a fold, a graph.
#include <foldnorm/foldnorm.hpp>

#if __has_include(<foldnorm/core/types.hpp>)
#error "the other headers are found, too: this would not test the single one"
#endif

int main() {
  Eigen::MatrixXf W = Eigen::MatrixXf::Random(8, 3);
  Eigen::VectorXf b = Eigen::VectorXf::Random(8);
  Eigen::MatrixXf const x = Eigen::MatrixXf::Random(3, 5);
  Eigen::MatrixXf before(8, 5), after(8, 5);
  foldnorm::layer_norm((W * x).colwise() + b, foldnorm::none, foldnorm::none, 1e-5f, before);
  foldnorm::fold_centering(W, b);
  foldnorm::rms_norm((W * x).colwise() + b, foldnorm::none, foldnorm::none, 1e-5f, after);

  foldnorm::Graph graph;
  auto const h = graph.linear("fc", graph.input("x", 3), 8, "W", "b");
  graph.output("y", graph.linear("head", graph.layer_norm("norm", h, "gamma", "beta"), 2, "V", "c"));
  auto const report = foldnorm::find_foldable_norms(graph);
  return (before - after).cwiseAbs().maxCoeff() < 1e-5f && report.folds() == 1 ? 0 : 1;
}
