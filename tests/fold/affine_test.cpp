// SPDX-License-Identifier: MIT
#include <foldnorm/fold/affine.hpp>

#include <limits>
#include <stdexcept>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "whitening/instances.hpp"

namespace {

using namespace foldnorm;
using laws::normal;

// An IterNorm at inference whose statistics a few batches have formed, as an affine map.
template <class Scalar>
AffineMap<Scalar> trained_norm(Index features, unsigned seed) {
  IterNorm<Scalar> norm(features, {.group_size = 4});
  norm.gamma = normal<Scalar>(features, 1, seed, 1, .2);
  norm.beta = normal<Scalar>(features, 1, seed + 1);
  typename IterNorm<Scalar>::Cache cache;
  Matrix<Scalar> y(features, 50);
  for (unsigned batch = 0; batch < 5; ++batch) {
    norm.forward(normal<Scalar>(features, 50, seed + 2 + batch, 1, 2), y, cache);
    norm.update_running(cache);
  }
  return norm.inference()->affine_map();
}

template <class Scalar>
Scalar const tolerance = std::is_same_v<Scalar, float> ? Scalar(1e-5) : Scalar(1e-13);

}  // namespace

TEMPLATE_TEST_CASE("fold affine: an IterNorm at inference disappears into the linear layer before or after it", "",
                   float, double) {
  using Scalar = TestType;
  AffineMap<Scalar> const norm = trained_norm<Scalar>(6, 1601);
  Matrix<Scalar> const x = normal<Scalar>(9, 20, 1611);
  Matrix<Scalar> weight = normal<Scalar>(6, 9, 1612);
  Vector<Scalar> bias = normal<Scalar>(6, 1, 1613);
  Matrix<Scalar> const hidden = (weight * x).colwise() + bias;
  Matrix<Scalar> const expected = (norm.matrix * hidden).colwise() + norm.bias;
  fold_affine_after_linear<Scalar>(norm.matrix, norm.bias, weight, bias);
  CHECK(((weight * x).colwise() + bias - expected).norm() <= tolerance<Scalar> * expected.norm());

  Matrix<Scalar> next = normal<Scalar>(3, 6, 1621);
  Vector<Scalar> next_bias = normal<Scalar>(3, 1, 1622);
  Matrix<Scalar> const output = (next * expected).colwise() + next_bias;
  fold_affine_before_linear<Scalar>(norm.matrix, norm.bias, next, next_bias);
  CHECK(((next * hidden).colwise() + next_bias - output).norm() <= tolerance<Scalar> * output.norm());
}

TEST_CASE("fold affine: mistakes and infinite results throw, and leave everything as it was") {
  Matrix<float> weight = normal<float>(4, 3, 1631);
  Vector<float> bias = normal<float>(4, 1, 1632), offset = normal<float>(4, 1, 1633);
  Matrix<float> const before = weight;
  Vector<float> const bias_before = bias;
  Matrix<float> map = normal<float>(4, 4, 1634);
  CHECK_THROWS_AS(fold_affine_after_linear<float>(map.topRows(3), offset, weight, bias), shape_error);
  CHECK_THROWS_AS(fold_affine_before_linear<float>(map, offset, weight, bias), shape_error);
  CHECK_THROWS_AS(fold_affine_after_linear<float>(map, offset.head(3), weight, bias), shape_error);
  CHECK_THROWS_AS(fold_affine_after_linear<float>(map, offset, weight, bias.head(3)), shape_error);
  map(0, 0) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(fold_affine_after_linear<float>(map, offset, weight, bias), std::invalid_argument);
  CHECK(weight == before);
  CHECK(bias == bias_before);
}
