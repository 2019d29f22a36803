#include <foldnorm/foldnorm.hpp>
#include <iostream>

int main() {
  foldnorm::Graph g;  // your network, described by hand
  auto x = g.input("x", 784);
  auto h = g.linear("fc1", x, 256, "W1", "b1");
  auto n = g.layer_norm("ln1", h, "gamma1", "beta1");
  g.output("logits", g.linear("fc2", g.relu("act1", n), 10, "W2", "b2"));

  auto report = foldnorm::find_foldable_norms(g);
  std::cout << report;  // fold ln1, center W1, center b1

  auto weights = foldnorm::random_parameters(g, 5, 1);  // yours: weights.set("W1", matrix)
  auto folded = foldnorm::fold_norms(g, report, weights);
  std::cout << foldnorm::certify(g, weights, folded, foldnorm::random_inputs(g, 5, 2));
}
