// SPDX-License-Identifier: MIT
// tests/consumer/single_header.cpp -- a user's program with the single header, alone in its folder. All of it compiles;
// what it calls is little: main.cpp calls the kernels, which take half a minute.
#include <foldnorm/foldnorm.hpp>

// An installed foldnorm is found in any case, behind the folder of the single header.
#if __has_include(<foldnorm/core/types.hpp>) && !__has_include("/usr/include/foldnorm/core/types.hpp") && \
    !__has_include("/usr/local/include/foldnorm/core/types.hpp")
#error "the other headers are found, too: this would not test the single one"
#endif

int main() {
  foldnorm::Graph g;
  auto const h = g.linear("fc", g.input("x", 3), 8, "W", "b");
  g.output("y", g.relu("act", g.layer_norm("ln", h, "gamma", "beta")));
  Eigen::MatrixXf W = Eigen::MatrixXf::Random(8, 3);
  Eigen::VectorXf b = Eigen::VectorXf::Random(8);
  foldnorm::fold_centering(W, b);
  bool const is_centered = W.colwise().sum().cwiseAbs().maxCoeff() < 1e-5f;
  return foldnorm::find_foldable_norms(g).folds() == 1 && is_centered ? 0 : 1;
}
