// SPDX-License-Identifier: MIT
// Centered layers: what they compute, their gradients, and that training with them is LayerNorm's.
#include <foldnorm/graph/describe.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/layers/centered_network.hpp>

#include <functional>
#include <string>
#include <vector>

#include "catch.hpp"
#include "laws/differences.hpp"
#include "laws/inputs.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;
using laws::normal;

// Weights with column means of about 1, which centering has to take away.
Linear<double> random_linear(Index in, Index out, unsigned seed) {
  return {normal<double>(out, in, seed, 1), normal<double>(out, 1, seed + 1, 1)};
}

Sequential<double> mlp() {
  Sequential<double> network;
  network.append(random_linear(5, 12, 1));
  network.append(LayerNorm<double>(12));
  network.append(Activation<double>(12, ActivationKind::tanh));
  network.append(random_linear(12, 8, 3));
  network.append(LayerNorm<double>(8, {.eps = 1e-3}));
  network.append(Activation<double>(8, ActivationKind::relu));
  network.append(random_linear(8, 3, 5));
  return network;
}

// All parameters of a network, or a gradient, one below the other: a matrix that optimizers see.
Vector<double> parameters_of(Sequential<double>& network) {
  std::vector<double> all;
  network.for_each_parameter([&](std::string const&, auto const& values) {
    all.insert(all.end(), values.data(), values.data() + values.size());
  });
  return Eigen::Map<Vector<double>>(all.data(), static_cast<Index>(all.size()));
}
void set_parameters(Sequential<double>& network, Vector<double> const& all) {
  Index next = 0;
  network.for_each_parameter([&](std::string const&, auto& values) {
    for (Index i = 0; i < values.size(); ++i) values(i) = all(next++);
  });
}

// The gradient of half the squared distance to a target.
Vector<double> gradient_of(Sequential<double> const& network, Matrix<double> const& x, Matrix<double> const& target) {
  Sequential<double>::Activations activations;
  Matrix<double> const dy = network.forward(x, activations) - target;
  Sequential<double> gradient = zeros_like(network);
  Matrix<double> dx(x.rows(), x.cols());
  network.backward(dy, x, activations, dx, gradient);
  return parameters_of(gradient);
}

// w, gradient -> the step that leads to the next w.
using Optimizer = std::function<Vector<double>(Vector<double> const&, Vector<double> const&)>;

struct NamedOptimizer {
  std::string name;
  std::function<Optimizer()> make;
};

constexpr double rate = .01;

Optimizer sgd(double momentum, double decay) {
  return [=, u = Vector<double>()](Vector<double> const& w, Vector<double> const& g) mutable {
    if (u.size() == 0) u.setZero(w.size());
    u = momentum * u + g + decay * w;
    return Vector<double>(-rate * u);
  };
}
Optimizer adam(double coupled, double decoupled) {
  return
      [=, m = Vector<double>(), v = Vector<double>(), t = 0](Vector<double> const& w, Vector<double> const& g) mutable {
        if (t == 0) m.setZero(w.size()), v.setZero(w.size());
        ++t;
        Vector<double> const all = g + coupled * w;
        m = .9 * m + .1 * all;
        v = .99 * v + .01 * all.cwiseAbs2();
        Vector<double> const direction =
            (m.array() / (1 - std::pow(.9, t))) / ((v.array() / (1 - std::pow(.99, t))).sqrt() + 1e-8);
        return Vector<double>(-rate * (direction + decoupled * w));
      };
}

std::vector<NamedOptimizer> optimizers() {
  return {{"SGD", [] { return sgd(0, 0); }},
          {"SGD, momentum, L2", [] { return sgd(.9, .01); }},
          {"Adam", [] { return adam(0, 0); }},
          {"Adam, L2", [] { return adam(.01, 0); }},
          {"AdamW", [] { return adam(0, .01); }}};
}

}  // namespace

TEST_CASE("Centered: outputs have mean zero, and dx and the gradients by V are the derivatives") {
  Matrix<double> x = normal<double>(5, 6, 30);
  Matrix<double> const dy = normal<double>(7, 6, 31, .5);
  auto const check = [&](auto layer, auto gradient) {
    Matrix<double> y(7, 6), dx(5, 6);
    auto const loss = [&] {
      layer.forward(x, y);
      return laws::dot(y, dy);
    };
    loss();
    CHECK(y.colwise().sum().cwiseAbs().maxCoeff() <= 1e-13);  // 7 terms below 30 that round at 1e-16 of them
    gradient.for_each_parameter([](char const*, auto& values) { values.setZero(); });
    layer.backward(dy, x, dx, gradient);
    for (Index i = 0; i < x.size(); ++i) {
      CHECK(std::abs(dx(i) - laws::partial(x(i), loss)) <= laws::difference_tolerance);
    }
    gradient.for_each_parameter([&](std::string_view name, auto& analytic) {
      CHECK(analytic.colwise().sum().cwiseAbs().maxCoeff() <= 1e-13);
      for (Index i = 0; i < analytic.size(); ++i) {
        CAPTURE(name, i);
        double const h = 0x1p-13;  // the loss is linear in V: any step is exact but for rounding
        auto const moved = [&](double by) {
          layer.for_each_parameter([&](std::string_view other, auto& values) {
            if (other == name) values(i) += by;
          });
          return loss();
        };
        double const above = moved(h), below = moved(-2 * h);
        moved(h);
        CHECK(std::abs(analytic(i) - (above - below) / (2 * h)) <= laws::difference_tolerance);
      }
    });
  };
  CenteredLinear<double> const linear(random_linear(5, 7, 1));
  check(linear, linear);
  CenteredConvolution<double> const convolution(
      Convolution<double>(normal<double>(7, 15, 3, 1), normal<double>(7, 1, 4, 1), 3, 3));
  check(convolution, convolution);
}

TEST_CASE("CenteredEmbedding: columns have mean zero, so has the gradient") {
  CenteredEmbedding<double> const layer(Embedding<double>(normal<double>(6, 4, 1, 1)));
  std::vector<Index> const ids{2, 0, 2};
  Matrix<double> y(6, 3);
  layer.forward(ids, y);
  for (Index j = 0; j < 3; ++j) {
    Vector<double> const column = layer.stored().table.col(ids[static_cast<std::size_t>(j)]);
    CHECK((y.col(j).array() - (column.array() - column.mean())).abs().maxCoeff() <= 1e-15);
  }
  CenteredEmbedding<double> gradient(Embedding<double>(6, 4));
  Matrix<double> const dy = normal<double>(6, 3, 2, 1);
  layer.backward(dy, ids, gradient);
  Matrix<double> expected = Matrix<double>::Zero(6, 4);
  expected.col(0) = dy.col(1);
  expected.col(2) = dy.col(0) + dy.col(2);
  CHECK((gradient.stored().table - center(expected)).cwiseAbs().maxCoeff() <= 1e-15);

  std::vector<Index> const bad{1, 4, 0};
  y.setConstant(42);
  CHECK_THROWS_WITH(layer.forward(bad, y), "Embedding::forward: ids hold 4, the table has 4 columns");
  CHECK(y == Matrix<double>::Constant(6, 3, 42));
  CHECK_THROWS_AS(layer.forward(ids, y.leftCols(2)), shape_error);
  CHECK_THROWS_AS(layer.backward(dy.topRows(5), ids, gradient), shape_error);
}

TEST_CASE("Convolution: sums its taps within each sequence; what does not fit throws") {
  Convolution<double> const layer(normal<double>(4, 9, 1), normal<double>(4, 1, 2), 3, 5);
  Matrix<double> const x = normal<double>(3, 10, 3);
  Matrix<double> y(4, 10);
  layer.forward(x, y);
  for (Index j = 0; j < 10; ++j) {
    Vector<double> expected = layer.bias;
    for (Index t = 0; t < 3; ++t) {
      Index const from = j + t - 1;
      if (from >= 0 && from < 10 && from / 5 == j / 5) expected += layer.weight.middleCols(3 * t, 3) * x.col(from);
    }
    CHECK((y.col(j) - expected).cwiseAbs().maxCoeff() <= 1e-14);
  }
  // One tap more than tokens: the outer ones meet only zeros.
  Convolution<double> wide(normal<double>(2, 15, 4), Vector<double>::Zero(2), 5, 2);
  Matrix<double> narrow(2, 2);
  wide.forward(x.leftCols(2), narrow);
  Matrix<double> const middle = wide.weight.middleCols(6, 3) * x.leftCols(2);
  CHECK((narrow.col(0) - middle.col(0) - wide.weight.middleCols(9, 3) * x.col(1)).cwiseAbs().maxCoeff() <= 1e-14);

  CHECK_THROWS_WITH(Convolution<double>(Matrix<double>(4, 9), Vector<double>(4), 2),
                    "Convolution: kernel is 2, not an odd divisor of the weight's 9 columns");
  CHECK_THROWS_AS(Convolution<double>(Matrix<double>(4, 9), Vector<double>(3), 3), shape_error);
  CHECK_THROWS_AS(Convolution<double>(3, 4, 3, -1), std::invalid_argument);
  CHECK_THROWS_AS(layer.forward(x.leftCols(9), y), std::invalid_argument);
  CHECK_THROWS_AS(layer.forward(x.topRows(2), y), shape_error);
}

TEST_CASE("with_centered_weights: the same function and the same gradient, as LayerNorm's network") {
  Sequential<double> plain = mlp();
  Sequential<double> centered = with_centered_weights(plain);
  Matrix<double> const x = normal<double>(5, 9, 40), target = normal<double>(3, 9, 41);
  REQUIRE(centered.layer_name(0) == "centered_linear1");
  REQUIRE(centered.layer_name(1) == "rms_norm2");
  REQUIRE(centered.layer_name(6) == "linear7");
  CHECK((plain.forward(x) - centered.forward(x)).cwiseAbs().maxCoeff() <= 1e-12);
  CHECK((gradient_of(plain, x, target) - gradient_of(centered, x, target)).cwiseAbs().maxCoeff() <= 1e-11);
  CHECK(parameters_of(plain) == parameters_of(centered));

  Sequential<double> groups;
  groups.append(random_linear(4, 6, 50));
  groups.append(ParallelLayerNorm<double>(6, 3));
  CHECK(with_centered_weights(groups).layer_name(0) == "linear1");
}

TEST_CASE("with_centered_weights: 100 steps of every optimizer are LayerNorm's") {
  Matrix<double> const x = normal<double>(5, 9, 42), target = normal<double>(3, 9, 43);
  for (NamedOptimizer const& tried : optimizers()) {
    CAPTURE(tried.name);
    Sequential<double> plain = mlp(), centered = with_centered_weights(plain);
    Vector<double> const start = parameters_of(plain);
    Optimizer a = tried.make(), b = tried.make();
    for (int step = 0; step < 100; ++step) {
      set_parameters(plain, parameters_of(plain) + a(parameters_of(plain), gradient_of(plain, x, target)));
      set_parameters(centered, parameters_of(centered) + b(parameters_of(centered), gradient_of(centered, x, target)));
    }
    CHECK((parameters_of(plain) - parameters_of(centered)).cwiseAbs().maxCoeff() <= 1e-10);
    CHECK((parameters_of(plain) - start).cwiseAbs().maxCoeff() >= .1);  // went somewhere
  }
}

// One set of weights: gradients centered before the step, weights after it.
TEST_CASE("center_parameters: in place, the path of P V for the optimizers it is documented for, and no other") {
  Matrix<double> const x = normal<double>(5, 9, 44), target = normal<double>(3, 9, 45);
  auto const distance = [&](NamedOptimizer const& tried, bool center_gradient) {
    Sequential<double> centered = with_centered_weights(mlp());
    Sequential<double> in_place = frozen(centered);
    auto const center_producers = [](Sequential<double>& network) {
      for (std::size_t const i : {0u, 3u}) center_parameters(std::get<Linear<double>>(network.layer(i)));
    };
    Optimizer a = tried.make(), b = tried.make();
    for (int step = 0; step < 100; ++step) {
      set_parameters(centered, parameters_of(centered) + a(parameters_of(centered), gradient_of(centered, x, target)));
      Sequential<double> gradient = zeros_like(in_place);
      set_parameters(gradient, gradient_of(in_place, x, target));
      if (center_gradient) center_producers(gradient);
      set_parameters(in_place, parameters_of(in_place) + b(parameters_of(in_place), parameters_of(gradient)));
      center_producers(in_place);
    }
    Sequential<double> expected = frozen(centered);
    return (parameters_of(expected) - parameters_of(in_place)).cwiseAbs().maxCoeff();
  };
  for (NamedOptimizer const& tried : optimizers()) {
    CAPTURE(tried.name);
    bool const valid = tried.name != "Adam, L2";
    CHECK((distance(tried, true) <= 1e-10) == valid);
    bool const valid_uncentered = tried.name.starts_with("SGD");
    CHECK((distance(tried, false) <= 1e-10) == valid_uncentered);
  }
}

TEST_CASE("frozen: the same bits from plain layers, in which an analysis sees the mean that is zero") {
  Sequential<double> const centered = with_centered_weights(mlp());
  Sequential<double> const plain = frozen(centered);
  Matrix<double> const x = normal<double>(5, 9, 46);
  CHECK(laws::same_bits(centered.forward(x), plain.forward(x)));
  CHECK(plain.layer_name(0) == "linear1");

  DescribedNetwork described = describe(centered);
  CHECK(described.parameters.get<double>("centered_linear1.weight") ==
        std::get<Linear<double>>(plain.layers()[0]).weight);
  Graph graph;  // a LayerNorm on a centered layer needs nothing to become an RMSNorm
  NodeId const h = graph.linear("fc", graph.input("x", 5), 12, "w", "b");
  graph.output("y", graph.relu("relu", h));
  graph.output("z", graph.layer_norm("norm", h));
  Parameters parameters;
  parameters.set("w", std::get<Linear<double>>(plain.layers()[0]).weight);
  parameters.set("b", std::get<Linear<double>>(plain.layers()[0]).bias);
  CHECK(find_foldable_norms(graph).folds() == 0);
  CHECK(find_foldable_norms(graph, {.parameters = &parameters}).folds() == 1);
}

TEST_CASE("Centered: keeps float's weights and gradients at mean zero, and follows what for_each_parameter changes") {
  CenteredLinear<float> layer(Linear<float>(normal<float>(768, 4, 47, 1, .03), normal<float>(768, 1, 48)));
  layer.for_each_parameter([](char const*, auto& values) { values.array() += 1; });
  Matrix<double> const wide = layer.stored().weight.cast<double>();
  // The sum of 768 terms that round at 2^-24 of about 1 each.
  CHECK((layer.centered().weight.cast<double>() - center(wide)).cwiseAbs().maxCoeff() <= 768 * 0x1p-24 * .2);
  CHECK(layer.centered().weight.cast<double>().colwise().mean().cwiseAbs().maxCoeff() <= 1e-7);
}
