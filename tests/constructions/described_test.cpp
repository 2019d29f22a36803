// SPDX-License-Identifier: MIT
// Constructed networks are ordinary ones: described as a graph, they mean the same to the reference interpreter. And
// all constructions compile side by side, with the header that leaves them out.
#include <foldnorm/constructions/approximate.hpp>
#include <foldnorm/constructions/approximate_on_grid.hpp>
#include <foldnorm/constructions/fit_random_groups.hpp>
#include <foldnorm/constructions/interpolate.hpp>
#include <foldnorm/constructions/ln_net_classifier.hpp>
#include <foldnorm/constructions/nonlinearity.hpp>
#include <foldnorm/constructions/separability.hpp>
#include <foldnorm/foldnorm.hpp>
#include <foldnorm/graph/describe.hpp>
#include <foldnorm/graph/dot.hpp>

#include <cmath>
#include <sstream>

#include "catch.hpp"
#include "eigen_instances.hpp"
#include "graph/instances.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;

void check_described(Sequential<double> const& network, Matrix<double> const& x) {
  DescribedNetwork const described = describe(network);
  std::ostringstream drawing, printed;
  write_dot(drawing, described.graph);
  CHECK(drawing.str().find(network.layer_name(1)) != std::string::npos);
  printed << network;
  INFO(printed.str());
  Matrix<double> const y = evaluate(described.graph, described.parameters, {{"x", x}}).at("y");
  CHECK((y - network.forward(x)).cwiseAbs().maxCoeff() <= 1e-12);
}

}  // namespace

TEST_CASE("constructed networks: the interpreter of the described graph computes the same") {
  auto const f = [](double t) { return std::sin(3 * t); };
  Eigen::RowVectorXd const x = Eigen::RowVectorXd::LinSpaced(101, -0.1, 1.1);
  for (UnitKind const kind : {UnitKind::parallel_layer_norm, UnitKind::parallel_layer_scaling, UnitKind::tanh,
                              UnitKind::sigmoid, UnitKind::relu}) {
    CAPTURE(to_string(kind));
    check_described(approximate(f, {0, 1, 3}, 0.1, {.kind = kind, .norm_size = 3}).network, x);
  }
  check_described(approximate(f, {0, 1, 3}, 0.1, {.mode = StepMode::hard}).network, x);
  check_described(approximate(f, {0, 1, 3}, 0.1, sign_units()).network, x);
  Matrix<double> corners(2, 4);
  corners << 0, 0.25, 0.5, 1, 0.75, 0.25, 1, 0.3;
  check_described(
      approximate_on_grid([](Vector<double> const& at) { return at(0) - at(1); }, {.lipschitz = 1.5}, 0.3).network,
      corners);
}
