// SPDX-License-Identifier: MIT
// training/gradients_test.cpp -- every layer and model against central differences and the layer graph, in
// double.
#include "catch.hpp"
#include "graph/instances.hpp"

#include <foldnorm/graph/evaluate.hpp>

#include "training/attention.hpp"
#include "training/conv_net.hpp"
#include "training/convolution.hpp"
#include "training/fold_model.hpp"
#include "training/linear.hpp"
#include "training/loss.hpp"
#include "training/mlp.hpp"
#include "training/model_testing.hpp"
#include "training/norm.hpp"
#include "training/relu.hpp"
#include "training/vision_transformer.hpp"

#include <random>
#include <vector>

namespace {

using namespace foldnorm;
using namespace foldnorm::training;
// The model's forward pass, its graph's evaluation, and both again after folding every norm.
template <class Model>
void check_graph_and_fold(Model const& model, M const& image) {
  typename Model::Activations activations;
  Graph const graph = model.describe();
  Parameters const parameters = to_parameters<double>(model.parameters);
  M const logits = model.forward(image, activations);
  check_close(evaluate(graph, parameters, {{graph.nodes().front().name, image}}).at("logits"), logits, graph_tolerance);

  FoldReport const report = find_foldable_norms(graph);
  REQUIRE(report.folds() == model.norms.size());
  Model const folded = with_fold(model, report, fold_norms(graph, report, parameters));
  for (Norm const& norm : folded.norms) CHECK(norm.kind == NormKind::rms_norm);
  check_close(folded.forward(image, activations, Pass::inference), logits, graph_tolerance);

  Model unfolded_weights = folded;
  unfolded_weights.parameters = model.parameters;
  CHECK((unfolded_weights.forward(image, activations) - logits).cwiseAbs().maxCoeff() > 1e-3);  // the danger is real
}

Mlp<double> small_mlp(std::mt19937_64& random) {
  Mlp<double> model({6, 7, 5, 4}, random);
  scatter(model.parameters, random);
  return model;
}

VisionTransformer<double> small_vision_transformer(std::mt19937_64& random) {
  VisionTransformer<double> model(
      {.patch_pixels = 5, .tokens = 3, .features = 8, .heads = 2, .hidden = 6, .blocks = 2, .classes = 4}, random);
  scatter(model.parameters, random);
  return model;
}

}  // namespace

TEST_CASE("Linear: gradients equal central differences, and add to what is there") {
  std::mt19937_64 random(1);
  Linear const layer{"w", "b"};
  NamedMatrices<double> parameters{{"w", random_normal(4, 3, random)}, {"b", random_normal(4, 1, random)}};
  NamedMatrices<double> gradients{{"w", M::Ones(4, 3)}, {"b", M::Ones(4, 1)}};
  M x = random_normal(3, 5, random);
  M const dy = random_normal(4, 5, random);
  M y, dx;
  auto const loss = [&] {
    layer.forward<double>(parameters, x, y);
    return y.cwiseProduct(dy).sum();
  };
  layer.backward<double>(parameters, x, dy, gradients, dx);
  check_close(dx, central_differences(x, loss), gradient_tolerance);
  for (auto& [name, matrix] : parameters) {
    check_close(gradients.at(name) - M::Ones(matrix.rows(), matrix.cols()), central_differences(matrix, loss),
                gradient_tolerance);
  }
}

TEST_CASE("relu: the gradient passes where the output is positive") {
  M x(1, 4);
  x << -2, 3, -0.5, 0.25;
  M y = x;
  relu(y);
  M dy = M::Constant(1, 4, 7);
  relu_backward(y, dy);
  CHECK(y == (M(1, 4) << 0, 3, 0, 0.25).finished());
  CHECK(dy == (M(1, 4) << 0, 7, 0, 7).finished());
}

TEST_CASE("Norm: gradients of both kinds equal central differences, over all features and over groups") {
  std::mt19937_64 random(2);
  auto const kind = GENERATE(NormKind::layer_norm, NormKind::rms_norm);
  Index const norm_size = GENERATE(0, 3);
  bool const affine = GENERATE(true, false);
  CAPTURE(norm_size, affine);
  Norm const norm{"n", kind, norm_size, affine};
  NamedMatrices<double> parameters;
  norm.initialize(6, parameters);
  scatter(parameters, random);
  NamedMatrices<double> gradients = zeros_like(parameters);
  M x = random_normal(6, 4, random);
  M const dy = random_normal(6, 4, random);
  M y, dx;
  NormActivations<double> activations;
  auto const loss = [&] {
    norm.forward(parameters, x, y, activations, Pass::training);
    return y.cwiseProduct(dy).sum();
  };
  loss();
  norm.backward(parameters, dy, x, activations, gradients, dx);
  check_close(dx, central_differences(x, loss), gradient_tolerance);
  for (auto& [name, matrix] : parameters) {
    check_close(gradients.at(name), central_differences(matrix, loss), gradient_tolerance);
  }
}

TEST_CASE("Norm: in groups of features it is a LayerNorm of each group") {
  std::mt19937_64 random(10);
  Norm const norm{.name = "n", .norm_size = 4};
  NamedMatrices<double> parameters;
  norm.initialize(12, parameters);
  scatter(parameters, random);
  M const x = random_normal(12, 5, random);
  M y;
  NormActivations<double> activations;
  norm.forward(parameters, x, y, activations, Pass::inference);
  M expected(12, 5);
  for (Index j = 0; j < x.cols(); ++j) {
    for (Index first = 0; first < 12; first += 4) {
      Eigen::ArrayXd const group = x.col(j).segment(first, 4);
      Eigen::ArrayXd const centered = group - group.mean();
      expected.col(j).segment(first, 4) = parameters.at("n.gamma").col(0).segment(first, 4).array() * centered /
                                              std::sqrt(centered.square().mean() + norm.eps) +
                                          parameters.at("n.beta").col(0).segment(first, 4).array();
    }
  }
  check_close(y, expected, 1e-14);  // a dozen operations in double
}

TEST_CASE("Neighbourhoods: the nine pixels around every second pixel, zeros outside, and the adjoint") {
  std::mt19937_64 random(11);
  Neighbourhoods const neighbourhoods{.side = 5, .stride = 2};
  M const x = random_normal(2, 2 * 25, random);
  M gathered, scattered;
  neighbourhoods.gather<double>(x, gathered);
  REQUIRE(gathered.rows() == 18);
  REQUIRE(gathered.cols() == 2 * 9);
  for (Index place = 0; place < 9; ++place) {  // around pixel (2, 4) of the second image, at its right edge
    M const expected = place % 3 == 2 ? M::Zero(2, 1) : M(x.col(25 + 5 * (1 + place / 3) + 3 + place % 3));
    CHECK(gathered.col(9 + 5).segment(2 * place, 2) == expected);
  }
  M const dy = random_normal(gathered.rows(), gathered.cols(), random);
  neighbourhoods.scatter(dy, scattered);
  CHECK(gathered.cwiseProduct(dy).sum() == Approx(x.cwiseProduct(scattered).sum()).epsilon(1e-13));
}

TEST_CASE("Attention: gradients equal central differences, also where later keys are hidden") {
  std::mt19937_64 random(3);
  Attention const attention{.heads = 2, .tokens = 3, .causal = GENERATE(false, true)};
  M qkv = random_normal(12, 6, random);  // two sequences, four features
  M const dy = random_normal(4, 6, random);
  M y, probabilities, dqkv(12, 6);
  auto const loss = [&] {
    attention.forward(Attention::operands(qkv), y, probabilities);
    return y.cwiseProduct(dy).sum();
  };
  loss();
  check_close(probabilities.colwise().sum(), M::Ones(1, probabilities.cols()), 1e-15);
  attention.backward(dy, Attention::operands(qkv), probabilities, Attention::gradients(dqkv));
  check_close(dqkv, central_differences(qkv, loss), gradient_tolerance);
}

TEST_CASE("Attention: a sequence does not see its neighbour in the batch") {
  std::mt19937_64 random(4);
  Attention const attention{.heads = 2, .tokens = 3};
  M qkv = random_normal(12, 6, random);
  M y, changed, probabilities;
  attention.forward(Attention::operands(qkv), y, probabilities);
  qkv.rightCols(3).setConstant(9);
  attention.forward(Attention::operands(qkv), changed, probabilities);
  CHECK(changed.leftCols(3) == y.leftCols(3));
}

TEST_CASE("softmax_cross_entropy: loss, count and gradient; large logits do not overflow") {
  std::mt19937_64 random(5);
  M logits = random_normal(4, 3, random);
  logits.col(2) *= 1000;
  std::vector<int> const labels{2, 0, 3};
  M dlogits, ignored;
  auto const loss = [&] { return softmax_cross_entropy(logits, labels, 0.5, ignored).loss * 0.5; };
  LossSums const sums = softmax_cross_entropy(logits, labels, 0.5, dlogits);
  CHECK(std::isfinite(sums.loss));
  check_close(dlogits, central_differences(logits, loss), 1e-7);  // the large column rounds at 1e3 * 1e-16 / 1e-5
  Index right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) right += predictions(logits)[i] == labels[i];
  CHECK(sums.correct == right);
}

TEST_CASE("Mlp: gradients equal central differences, with LayerNorm and with RMSNorm") {
  std::mt19937_64 random(6);
  Mlp<double> model = small_mlp(random);
  for (Norm& norm : model.norms) norm.kind = GENERATE(NormKind::layer_norm, NormKind::rms_norm);
  check_model_gradients(model, random_normal(6, 5, random), {0, 3, 1, 2, 3});
}

TEST_CASE(
    "Mlp: gradients equal central differences with PLN, with ReLU alone, with neither, and without hidden blocks") {
  std::mt19937_64 random(12);
  Mlp<double> model(6,
                    {{.width = 8, .nonlinearity = {.norm_size = 4, .relu = false}},
                     {.width = 6, .nonlinearity = {.norm_size = 3, .affine = false, .relu = false}},
                     {.width = 7, .nonlinearity = {.norm = false}},
                     {.width = 5, .nonlinearity = {.norm = false, .relu = false}}},
                    4, random);
  scatter(model.parameters, random);
  CHECK(model.norms.size() == 2);
  check_model_gradients(model, random_normal(6, 5, random), {0, 3, 1, 2, 3});
  Mlp<double> softmax_regression(6, {}, 4, random);
  check_model_gradients(softmax_regression, random_normal(6, 5, random), {0, 3, 1, 2, 3});
}

TEST_CASE("ConvNet: gradients equal central differences with PLN, with ReLU alone, and with LayerNorm and ReLU") {
  std::mt19937_64 random(13);
  ConvNet<double> model(7,
                        {{.channels = 6, .stride = 2, .nonlinearity = {.norm_size = 3, .relu = false}},
                         {.channels = 4, .nonlinearity = {.norm = false}},
                         {.channels = 5, .stride = 2},
                         {.channels = 8, .nonlinearity = {.norm_size = 4, .relu = false}}},
                        4, random);
  scatter(model.parameters, random);
  check_model_gradients(model, random_normal(1, 3 * 49, random), {2, 0, 3});
}

TEST_CASE("ConvNet: PLN works at each pixel by itself, not pooled over pixels") {
  std::mt19937_64 random(14);
  // One block and a head that reads the pooled mean: the logits are the mean of what each pixel's column gives.
  ConvNet<double> model(3, {{.channels = 8, .nonlinearity = {.norm_size = 4, .relu = false}}}, 4, random);
  scatter(model.parameters, random);
  M const image = random_normal(1, 9, random);
  M neighbourhoods;
  Neighbourhoods{.side = 3}.gather<double>(image, neighbourhoods);
  M const linear =
      (model.parameters.at("conv1.weight") * neighbourhoods).colwise() + model.parameters.at("conv1.bias").col(0);
  M pooled = M::Zero(8, 1);
  for (Index pixel = 0; pixel < 9; ++pixel) {
    M normalized(8, 1);
    parallel_layer_norm(linear.col(pixel), 4, model.parameters.at("norm1.gamma").col(0),
                        model.parameters.at("norm1.beta").col(0), 1e-5, normalized);
    pooled += normalized / 9;
  }
  ConvNet<double>::Activations activations;
  check_close(model.forward(image, activations),
              model.parameters.at("head.weight") * pooled + model.parameters.at("head.bias"), graph_tolerance);
}

TEST_CASE("VisionTransformer: gradients equal central differences with PLN, also in place of the ReLU") {
  std::mt19937_64 random(15);
  VisionTransformer<double> model(
      {.patch_pixels = 5,
       .tokens = 3,
       .features = 8,
       .heads = 2,
       .hidden = 6,
       .blocks = 2,
       .classes = 4,
       .norm_size = 4,
       .mlp = GENERATE(as<Nonlinearity>(), Nonlinearity{.norm = false}, Nonlinearity{.norm_size = 3, .relu = false})},
      random);
  scatter(model.parameters, random);
  check_model_gradients(model, random_normal(5, 6, random), {3, 1});
}

TEST_CASE(
    "VisionTransformer: gradients equal central differences, with central differences, with LayerNorm and with "
    "RMSNorm") {
  std::mt19937_64 random(7);
  VisionTransformer<double> model = small_vision_transformer(random);
  auto const kind = GENERATE(NormKind::layer_norm, NormKind::rms_norm);
  for (Norm& norm : model.norms) norm.kind = kind;
  check_model_gradients(model, random_normal(5, 6, random), {3, 1});
}

TEST_CASE("Mlp: computes what its graph describes, before and after the fold") {
  std::mt19937_64 random(8);
  check_graph_and_fold(small_mlp(random), random_normal(6, 1, random));
}

TEST_CASE("Mlp and VisionTransformer with PLN: compute what their graphs describe, before and after the fold") {
  std::mt19937_64 random(16);
  Nonlinearity const pln{.norm_size = 4, .relu = false};
  Mlp<double> mlp(6, {{.width = 8, .nonlinearity = pln}, {.width = 12, .nonlinearity = pln}}, 4, random);
  scatter(mlp.parameters, random);
  check_graph_and_fold(mlp, random_normal(6, 1, random));
  VisionTransformer<double> transformer({.patch_pixels = 5,
                                         .tokens = 3,
                                         .features = 8,
                                         .heads = 2,
                                         .hidden = 6,
                                         .blocks = 2,
                                         .classes = 4,
                                         .norm_size = 4,
                                         .mlp = {.norm_size = 3, .relu = false}},
                                        random);
  scatter(transformer.parameters, random);
  check_graph_and_fold(transformer, random_normal(5, 3, random));
}

TEST_CASE("VisionTransformer: computes what its graph describes, before and after the fold") {
  std::mt19937_64 random(9);
  check_graph_and_fold(small_vision_transformer(random), random_normal(5, 3, random));
}
