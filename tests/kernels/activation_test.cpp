// SPDX-License-Identifier: MIT
#include <foldnorm/kernels/activation.hpp>

#include <cmath>

#include "catch.hpp"
#include "laws/differences.hpp"
#include "laws/inputs.hpp"

using namespace foldnorm;

TEST_CASE("activate: values, and derivatives of the forward") {
  Matrix<double> x(1, 5), y(1, 5), dx(1, 5);
  x << -800, -1.5, .25, 3, 800;
  for (auto const kind : {ActivationKind::relu, ActivationKind::tanh, ActivationKind::sigmoid}) {
    CAPTURE(to_string(kind));
    activate<double>(kind, x, y);
    for (Index i = 0; i < 5; ++i) {
      double const expected = kind == ActivationKind::relu   ? std::max(x(i), 0.0)
                              : kind == ActivationKind::tanh ? std::tanh(x(i))
                                                             : 1 / (1 + std::exp(-x(i)));
      CHECK(std::abs(y(i) - expected) <= 1e-15 * std::max(1.0, std::abs(expected)));
    }
    activate_backward<double>(kind, Matrix<double>::Constant(1, 5, 2), x, dx);
    for (Index i = 0; i < 5; ++i) {
      double const expected = laws::partial(x(i), [&] {
        activate<double>(kind, x, y);
        return 2 * y(i);
      });
      CHECK(std::abs(dx(i) - expected) <= 1e-9);
    }
  }
}

TEST_CASE("activate: NaN stays, the kink of relu has slope 0, shapes are checked") {
  Matrix<float> x(1, 2), y(1, 2);
  x << std::nanf(""), 0;
  for (auto const kind : {ActivationKind::relu, ActivationKind::tanh, ActivationKind::sigmoid}) {
    activate<float>(kind, x, y);
    CHECK(std::isnan(y(0)));
  }
  activate_backward<float>(ActivationKind::relu, Matrix<float>::Ones(1, 2), x, y);
  CHECK(y(1) == 0);
  Matrix<float> narrow(1, 1);
  CHECK_THROWS_AS(activate<float>(ActivationKind::relu, x, narrow), shape_error);
  CHECK_THROWS_AS(activate_backward<float>(ActivationKind::relu, narrow, x, y), shape_error);
}
