// SPDX-License-Identifier: MIT
#include <foldnorm/losses/trace_loss.hpp>

#include <stdexcept>

#include "catch.hpp"
#include "golden/golden.hpp"
#include "laws/differences.hpp"
#include "laws/inputs.hpp"

namespace {

using namespace foldnorm;
using laws::normal;

double value(Matrix<double> const& y) {
  Matrix<double> dy(y.rows(), y.cols());
  return trace_loss<double>(y, dy);
}

}  // namespace

TEST_CASE("trace loss: golden value and gradient") {
  auto const& golden = golden::whitening();
  Matrix<double> const& y = golden("GV-2/Y");
  Matrix<double> dy(y.rows(), y.cols());
  CHECK(std::abs(trace_loss<double>(y, dy) - golden.number("GV-2/TL")) <= 1e-13);
  CHECK((dy - golden("GV-2/dTL_dY")).cwiseAbs().maxCoeff() <= 1e-13);
}

TEST_CASE("trace loss: gradient by differences, in place, in float") {
  Matrix<double> y = normal<double>(5, 9, 1401, .5);
  Matrix<double> dy(5, 9), in_place = y;
  trace_loss<double>(y, dy);
  for (Index i = 0; i < y.size(); ++i) {
    CHECK(std::abs(dy.data()[i] - laws::partial(y.data()[i], [&] { return value(y); })) <= 1e-9);
  }
  trace_loss<double>(in_place, in_place);
  CHECK(in_place == dy);
  Matrix<float> narrow = y.cast<float>();
  trace_loss<float>(narrow, narrow);
  CHECK((narrow.cast<double>() - dy).norm() <= 1e-6 * dy.norm());
}

TEST_CASE("trace loss: 0 for unit variances, one per variable without any") {
  Matrix<double> y(2, 4);
  y << 1, -1, 1, -1, 3, 1, 3, 1;
  y *= std::sqrt(.75);  // divisor m - 1
  CHECK(value(y) <= 1e-30);
  CHECK(value(Matrix<double>::Constant(6, 4, 2)) == 6);
  CHECK(value(Matrix<double>(6, 1).setConstant(2)) == 6);
  CHECK(value(Matrix<double>(0, 3)) == 0);
  Matrix<double> narrow(2, 3);
  CHECK_THROWS_AS(trace_loss<double>(y, narrow), shape_error);
}

TEST_CASE("trace loss: the floor of the golden table") {
  auto const& golden = golden::whitening();
  Matrix<double> const &d = golden("GV-F/d"), &steps = golden("GV-F/T"), &phi = golden("GV-F/phi");
  for (Index i = 0; i < d.size(); ++i) {
    for (Index j = 0; j < steps.size(); ++j) {
      double const expected = d(i) * (1 - phi(i, j)) * (1 - phi(i, j));
      CHECK(std::abs(trace_loss_floor(Index(d(i)), int(steps(j))) - expected) <= 1e-12 * d(i));
    }
  }
  CHECK(trace_loss_floor(0, 4) == 0);
  CHECK(trace_loss_floor(1, 4) == 0);
  CHECK_THROWS_AS(trace_loss_floor(-1, 4), std::invalid_argument);
  CHECK_THROWS_AS(trace_loss_floor(4, -1), std::invalid_argument);
}
