// SPDX-License-Identifier: MIT
// Groups shared out over threads give what one thread gives. In the executable that is built with OpenMP.
#include <foldnorm/whitening/iter_norm.hpp>
#include <foldnorm/whitening/spectral_transformation.hpp>

#include <stdexcept>
#include <type_traits>

#include "catch.hpp"
#include "laws/inputs.hpp"

using namespace foldnorm;
using laws::normal;
using laws::same_bits;

TEST_CASE("whitening: outputs and gradients do not depend on the number of threads") {
  Index const d = 70, m = 4000;  // groups of 16, the last one smaller; 2 MB, worth several threads
  IterNorm<double> const layer(d, {.group_size = 16});
  Matrix<double> const x = normal<double>(d, m, 1), dy = normal<double>(d, m, 2);
  Matrix<double> y[2], dx[2];
  Vector<double> dgamma[2], dbeta[2];
  double deps[2];
  for (int run : {0, 1}) {
    Eigen::setNbThreads(run == 0 ? 1 : 3);
    IterNorm<double>::Cache cache;
    y[run].resize(d, m);
    dx[run].resize(d, m);
    dgamma[run].resize(d);
    dbeta[run].resize(d);
    layer.forward(x, y[run], cache);
    deps[run] = layer.backward(dy, cache, dx[run], dgamma[run], dbeta[run]);
  }
  Eigen::setNbThreads(0);
  CHECK(same_bits(y[1], y[0]));
  CHECK(same_bits(dx[1], dx[0]));
  CHECK(same_bits(dgamma[1], dgamma[0]));
  CHECK(same_bits(dbeta[1], dbeta[0]));
  CHECK(deps[1] == deps[0]);
}

TEST_CASE("whitening: what a function of the caller's throws in a thread comes to the caller") {
  Index const d = 32, m = 8000;
  auto const refuse = [](double) -> double { throw std::domain_error("no such eigenvalue"); };
  ScalarFunction const function{refuse, refuse};
  using Layer = SpectralTransformation<double, std::remove_const_t<decltype(function)>>;
  Layer const layer(d, {.group_size = 8}, {function});
  Layer::Cache cache;
  Matrix<double> const x = normal<double>(d, m, 3);
  Matrix<double> y = Matrix<double>::Zero(d, m);
  for (int threads : {1, 3}) {
    Eigen::setNbThreads(threads);
    CHECK_THROWS_WITH(layer.forward(x, y, cache), "no such eigenvalue");
  }
  Eigen::setNbThreads(0);
  CHECK(y.isZero(0));
}
