// SPDX-License-Identifier: MIT
// Chains of layers: what they compute, their gradients, what they refuse.
#include <foldnorm/layers/convolution.hpp>
#include <foldnorm/layers/embedding.hpp>
#include <foldnorm/layers/sequential.hpp>

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "catch.hpp"
#include "laws/differences.hpp"
#include "laws/inputs.hpp"
#include "layers/instances.hpp"

namespace {

using namespace foldnorm;
using laws::normal;

Linear<double> normal_linear(Index in, Index out, unsigned seed) {
  return {normal<double>(out, in, seed), normal<double>(out, 1, seed + 1)};
}

template <class Norm>
Norm random_norm(Norm norm, unsigned seed) {
  norm.gamma = normal<double>(norm.in_features(), 1, seed, 1, .3);
  norm.beta = normal<double>(norm.in_features(), 1, seed + 1);
  return norm;
}

// One of each kind of layer.
Sequential<double> every_layer() {
  Sequential<double> network;
  network.append(normal_linear(3, 12, 1));
  network.append(random_norm(ParallelLayerNorm<double>(12, 4), 3));
  network.append(normal_linear(12, 12, 5));
  network.append(random_norm(ParallelLayerScaling<double>(12, 3, {.accuracy = Accuracy::accurate}), 7));
  network.append(Activation<double>(12, ActivationKind::tanh));
  network.append(normal_linear(12, 8, 9));
  network.append(PqNorm<double>(8, 4, {.p = 3, .q = 2, .center = true}));
  network.append(LayerNorm<double>(8, {.affine = false}));
  network.append(Activation<double>(8, ActivationKind::sigmoid));
  network.append(random_norm(RMSNorm<double>(8), 13));
  network.append(normal_linear(8, 2, 11));
  return network;
}

}  // namespace

TEST_CASE("Sequential: computes layer after layer, with and without activations") {
  Sequential<double> network;
  Linear<double> const first = normal_linear(3, 6, 1), last = normal_linear(6, 2, 3);
  network.append(first);
  network.append(ParallelLayerNorm<double>(6, 3, {.eps = .1}));
  network.append(Activation<double>(6, ActivationKind::relu));
  network.append(last);
  Matrix<double> const x = normal<double>(3, 5, 7);
  Matrix<double> h = first.weight * x + first.bias.replicate(1, 5);
  for (Index j = 0; j < 5; ++j) {
    for (Index g = 0; g < 6; g += 3) {
      Vector<double> const centered = h.col(j).segment(g, 3).array() - h.col(j).segment(g, 3).mean();
      h.col(j).segment(g, 3) = centered / std::sqrt(centered.squaredNorm() / 3 + .1);
    }
  }
  Matrix<double> const expected = last.weight * h.cwiseMax(0.0) + last.bias.replicate(1, 5);
  CHECK((network.forward(x) - expected).cwiseAbs().maxCoeff() <= 1e-14);
  Sequential<double>::Activations activations;
  CHECK(laws::same_bits(network.forward(x, activations), network.forward(x)));
  CHECK(network.in_features() == 3);
  CHECK(network.out_features() == 2);
  CHECK(network.forward(Matrix<double>(3, 0)).cols() == 0);
}

TEST_CASE("Sequential: dx and every parameter's gradient are the derivatives of the forward") {
  Sequential<double> network = every_layer();
  Matrix<double> x = normal<double>(3, 4, 21);
  Matrix<double> const dy = normal<double>(2, 4, 22);
  Sequential<double>::Activations activations;
  network.forward(x, activations);
  Sequential<double> gradient = zeros_like(network);
  Matrix<double> dx(3, 4);
  network.backward(dy, x, activations, dx, gradient);
  auto const loss = [&] { return laws::dot(network.forward(x), dy); };
  // Gradients here are of order 1 to 100, third derivatives up to some 1e4.
  constexpr double tolerance = 100 * laws::difference_tolerance;
  for (Index i = 0; i < x.size(); ++i) {
    CHECK(std::abs(dx(i) - laws::partial(x(i), loss)) <= tolerance);
  }
  std::vector<std::pair<std::string, Matrix<double>>> analytic;
  gradient.for_each_parameter(
      [&](std::string const& name, auto const& values) { analytic.emplace_back(name, values); });
  std::size_t next = 0;
  network.for_each_parameter([&](std::string const& name, auto& values) {
    REQUIRE(analytic[next].first == name);
    for (Index i = 0; i < values.size(); ++i) {
      CAPTURE(name, i);
      CHECK(std::abs(analytic[next].second(i) - laws::partial(values(i), loss)) <= tolerance);
    }
    ++next;
  });
  CHECK(next == 4 * 2 + 3 * 2);  // the norm without affine has no parameters

  Matrix<double> again(3, 4);
  network.backward(dy, x, activations, again, gradient);
  CHECK(laws::same_bits(again, dx));
  next = 0;
  gradient.for_each_parameter([&](std::string const&, auto const& values) {
    CHECK((values - 2 * analytic[next++].second).cwiseAbs().maxCoeff() <= 1e-12);  // gradients add up
  });
}

TEST_CASE("Sequential: prints a line a layer") {
  std::ostringstream text;
  text << every_layer();
  CHECK(text.str() ==
        "linear1 12 from 3\nlayer_norm2 12 in groups of 4, eps 1e-05\nlinear3 12 from 12\n"
        "rms_norm4 12 in groups of 3, eps 1e-05\ntanh5 12\nlinear6 8 from 12\npq_norm7 8 in groups of 4, eps 1e-05\n"
        "layer_norm8 8, eps 1e-05\nsigmoid9 8\nrms_norm10 8, eps 1e-05\nlinear11 2 from 8\n");
}

TEST_CASE("Sequential: what does not fit throws, and leaves the chain as it was") {
  Sequential<double> network;
  CHECK(network.forward(Matrix<double>::Ones(3, 2)) == Matrix<double>::Ones(3, 2));
  Sequential<double>::Activations activations;
  Matrix<double> dx(3, 2);
  CHECK_THROWS_AS(network.forward(Matrix<double>::Ones(3, 2), activations), std::invalid_argument);
  network.append(normal_linear(3, 4, 1));
  CHECK_THROWS_AS(network.append(normal_linear(3, 4, 1)), shape_error);
  CHECK(network.layers().size() == 1);
  CHECK_THROWS_AS(network.forward(Matrix<double>::Ones(2, 2)), shape_error);
  Matrix<double> const x = Matrix<double>::Ones(3, 2);
  Sequential<double> gradient = zeros_like(network), other;
  CHECK_THROWS_AS(network.backward(Matrix<double>::Ones(4, 2), x, activations, dx, gradient), shape_error);
  network.forward(x, activations);
  CHECK_THROWS_AS(network.backward(Matrix<double>::Ones(4, 2), x, activations, dx, other), shape_error);
  other.append(Activation<double>(3, ActivationKind::relu));
  CHECK_THROWS_AS(network.backward(Matrix<double>::Ones(4, 2), x, activations, dx, other), std::invalid_argument);
  CHECK_THROWS_AS(network.backward(Matrix<double>::Ones(4, 3), x, activations, dx, gradient), shape_error);
  CHECK_THROWS_AS(Linear<double>(Matrix<double>(2, 3), Vector<double>(3)), shape_error);
  CHECK_THROWS_AS(Activation<double>(-1, ActivationKind::relu), std::invalid_argument);
}

TEST_CASE("Sequential: a gradient or an input that does not fit throws before anything is added") {
  auto const chain = [](auto norm, Index features) {
    Sequential<double> network;
    network.append(normal_linear(features, 4, 41));
    network.append(std::move(norm));
    network.append(normal_linear(4, 4, 43));
    return network;
  };
  Sequential<double> const network = chain(LayerNorm<double>(4), 3);
  Matrix<double> const x = normal<double>(3, 5, 45), dy = normal<double>(4, 5, 46);
  Sequential<double>::Activations activations;
  network.forward(x, activations);
  Sequential<double> other_layer = zeros_like(chain(RMSNorm<double>(4), 3));
  Sequential<double> other_shape = zeros_like(chain(LayerNorm<double>(4), 7));
  Sequential<double> fitting = zeros_like(network);
  Matrix<double> dx(3, 5), tall(7, 5);
  CHECK_THROWS_AS(network.backward(dy, x, activations, dx, other_layer), std::invalid_argument);
  CHECK_THROWS_AS(network.backward(dy, x, activations, dx, other_shape), std::invalid_argument);
  CHECK_THROWS_AS(network.backward(dy, normal<double>(7, 5, 47), activations, tall, fitting), shape_error);
  // Activations of another chain: of no norm there, and of one of other groups, whose gradient would be another one.
  Sequential<double>::Activations of_no_norm, of_groups;
  chain(Activation<double>(4, ActivationKind::relu), 3).forward(x, of_no_norm);
  chain(ParallelLayerNorm<double>(4, 2), 3).forward(x, of_groups);
  CHECK_THROWS_AS(network.backward(dy, x, of_no_norm, dx, fitting), shape_error);
  CHECK_THROWS_WITH(network.backward(dy, x, of_groups, dx, fitting),
                    Catch::Contains("norm_size of the statistics: size 2, expected 4"));
  for (auto* gradient : {&other_layer, &other_shape, &fitting}) {
    gradient->for_each_parameter([](std::string const& name, auto& values) {
      INFO(name);
      CHECK(values.isZero(0));
    });
  }
}

TEST_CASE("Linear, Convolution: a bias of another size throws before anything is written") {
  Matrix<double> const x = normal<double>(3, 5, 48), dy = normal<double>(4, 5, 49);
  Matrix<double> y(4, 5), dx(3, 5);
  auto const check = [&](auto layer, auto gradient) {
    gradient.bias.resize(2);
    CHECK_THROWS_AS(layer.backward(dy, x, dx, gradient), shape_error);
    CHECK(gradient.weight.isZero(0));
    layer.bias.resize(2);
    CHECK_THROWS_AS(layer.forward(x, y), shape_error);
  };
  check(normal_linear(3, 4, 50), Linear<double>(3, 4));
  check(Convolution<double>(normal<double>(4, 9, 51), normal<double>(4, 1, 52), 3), Convolution<double>(3, 4, 3));
}

TEST_CASE("layers: a negative size throws, and names itself") {
  CHECK_THROWS_WITH(Linear<double>(-1, 2), "Linear: in is negative");
  CHECK_THROWS_WITH(Linear<double>(1, -2), "Linear: out is negative");
  CHECK_THROWS_WITH(Convolution<double>(-1, 2, 3), "Convolution: in is negative");
  CHECK_THROWS_WITH(Convolution<double>(1, -2, 3), "Convolution: out is negative");
  CHECK_THROWS_WITH(Convolution<double>(1, 2, -3), "Convolution: kernel is negative");
  CHECK_THROWS_WITH(Embedding<double>(-1, 2), "Embedding: features is negative");
  CHECK_THROWS_WITH(Embedding<double>(1, -2), "Embedding: vocabulary is negative");
  CHECK_THROWS_WITH(LayerNorm<double>(-1), "NormLayer: features is negative");
  CHECK_THROWS_WITH(Activation<double>(-1, ActivationKind::relu), "Activation: features is negative");
  CHECK(Linear<double>(0, 0).weight.size() == 0);
}
