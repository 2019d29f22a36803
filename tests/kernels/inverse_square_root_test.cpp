// SPDX-License-Identifier: MIT
#include <foldnorm/kernels/inverse_square_root.hpp>

#include <limits>

#include "catch.hpp"
#include "kernels/spectra.hpp"

namespace {

using namespace foldnorm;
using namespace spectra;

template <class Scalar>
double const unit_roundoff = static_cast<double>(std::numeric_limits<Scalar>::epsilon()) / 2;

// Errors of the result and of the gradient, and the outcome.
struct Errors {
  double result, gradient;
  IterationOutcome outcome;
};

template <class Scalar>
Errors coupled_errors(Index d, Wide condition, int steps) {
  Problem const problem(d, condition, 801);
  WideMatrix direction = random_matrix(d, d, 802);
  direction = (direction + direction.transpose().eval()) / 2;
  NewtonIterates<Scalar> iterates;
  Errors errors{};
  errors.outcome = coupled_inverse_square_root(rounded<Scalar>(problem.matrix()), steps, iterates);
  errors.result = relative_error(iterates.result(), problem.iterate(steps));
  Matrix<Scalar> dp = rounded<Scalar>(direction), ds;
  coupled_inverse_square_root_backward(dp, iterates, ds);
  errors.gradient = relative_error(ds, problem.derivative(steps, direction));
  return errors;
}

template <class Scalar>
Errors newton_errors(Index d, Wide condition, int steps) {
  Problem const problem(d, condition, 801);
  WideMatrix direction = random_matrix(d, d, 802);
  direction = (direction + direction.transpose().eval()) / 2;
  Matrix<Scalar> const s = rounded<Scalar>(problem.matrix());
  NewtonIterates<Scalar> iterates;
  Errors errors{};
  errors.outcome = newton_inverse_square_root(s, steps, iterates);
  errors.result = relative_error(iterates.result(), problem.iterate(steps));
  Matrix<Scalar> ds;
  newton_inverse_square_root_backward(s, rounded<Scalar>(direction), iterates, ds);
  errors.gradient = relative_error(ds, problem.derivative(steps, direction));
  return errors;
}

}  // namespace

TEMPLATE_TEST_CASE("inverse square root: coupled, value and gradient, every number of steps", "", float, double) {
  double const u = unit_roundoff<TestType>;
  for (Index const d : {1, 2, 8, 33}) {
    for (Wide const condition : {1.0L, 10.0L, 100.0L, 1e4L}) {
      for (int steps = 1; steps <= 12; ++steps) {
        Errors const errors = coupled_errors<TestType>(d, condition, steps);
        INFO("d " << d << ", condition " << static_cast<double>(condition) << ", steps " << steps);
        CHECK(errors.outcome.steps == steps);
        CHECK_FALSE(errors.outcome.stopped_early);
        // an eigenvalue s is known to u, so its f to f' u: at most 1.5^3T u of f, and condition u once it converged
        double const amplified = std::min(std::pow(2.25, steps), 16 * static_cast<double>(condition));
        CHECK(errors.result <= (4 + amplified) * u);
        CHECK(errors.gradient <= (8 + 4 * amplified) * u);
      }
    }
  }
}

TEST_CASE("inverse square root: coupled in double holds to 50 steps and condition 1e8") {
  for (Index const d : {4, 8, 16, 32, 64}) {
    INFO("d " << d);
    Errors const at_20 = coupled_errors<double>(d, 1e8L, 20);
    CHECK(at_20.outcome.steps == 20);
    CHECK(at_20.result <= 1e-10);
    Errors const at_50 = coupled_errors<double>(d, 1e8L, 50);
    CHECK(at_50.outcome.steps == 50);
    CHECK(at_50.result <= 1e-8);
    CHECK(at_50.gradient <= 1e-8);
  }
}

TEST_CASE("inverse square root: coupled in float holds to 50 steps up to condition 1e4, and is finite beyond") {
  for (Index const d : {4, 8, 16, 32, 64}) {
    INFO("d " << d);
    for (Wide const condition : {10.0L, 100.0L, 1e4L}) CHECK(coupled_errors<float>(d, condition, 50).result <= 1e-4);
    for (Wide const condition : {1e6L, 1e8L, 1e10L, 1e14L}) {
      for (int const steps : {20, 50, 200}) {
        Errors const errors = coupled_errors<float>(d, condition, steps);
        CHECK(std::isfinite(errors.result));
        CHECK(std::isfinite(errors.gradient));
      }
    }
  }
}

TEST_CASE("inverse square root: an indefinite matrix stops the iteration at its last good iterate") {
  Matrix<double> s = Vector<double>::LinSpaced(4, .1, .5).asDiagonal();
  s(0, 0) = -1e-3;
  NewtonIterates<double> iterates;
  IterationOutcome const outcome = coupled_inverse_square_root(s, 50, iterates);
  CHECK(outcome.stopped_early);
  CHECK(outcome.steps > 5);
  CHECK(outcome.steps < 20);
  CHECK(iterates.steps == outcome.steps);
  CHECK(iterates.result().allFinite());
  CHECK(outcome.residual < 10);
}

TEST_CASE("inverse square root: newton agrees where it is stable, and stops where it is not") {
  for (Wide const condition : {10.0L, 100.0L, 1e4L}) {
    for (int steps = 1; steps <= 7; ++steps) {
      Errors const in_double = newton_errors<double>(16, condition, steps);
      CHECK(in_double.result <= 1e-12);
      CHECK(in_double.gradient <= 1e-12);
      if (steps > 5) continue;
      Errors const in_float = newton_errors<float>(16, condition, steps);
      CHECK(in_float.result <= 2e-6);
      CHECK(in_float.gradient <= 2e-6);
    }
    for (int const steps : {12, 20, 50}) {
      Errors const errors = newton_errors<float>(16, condition, steps);
      CHECK(errors.outcome.stopped_early);
      CHECK(std::isfinite(errors.result));
      CHECK(std::isfinite(errors.gradient));
    }
  }
}

TEST_CASE("inverse square root: the residual is that of the result") {
  Problem const problem(12, 100, 811);
  Matrix<double> const s = rounded<double>(problem.matrix());
  for (int const steps : {0, 1, 2, 5, 9}) {
    NewtonIterates<double> a, b;
    double const coupled = coupled_inverse_square_root(s, steps, a).residual;
    double const newton = newton_inverse_square_root(s, steps, b).residual;
    WideMatrix const p = problem.iterate(steps);
    WideMatrix const left = WideMatrix::Identity(12, 12) - p * problem.matrix() * p;
    double const expected = static_cast<double>(left.norm() / std::sqrt(12.0L));
    CHECK(std::abs(coupled - expected) <= 1e-12);
    CHECK(std::abs(newton - expected) <= 1e-12);
  }
}

TEST_CASE("inverse square root: memory of more steps serves fewer, and other sizes") {
  NewtonIterates<double> iterates;
  coupled_inverse_square_root(rounded<double>(Problem(9, 10, 821).matrix()), 8, iterates);
  Problem const problem(5, 10, 822);
  coupled_inverse_square_root(rounded<double>(problem.matrix()), 3, iterates);
  CHECK(relative_error(iterates.result(), problem.iterate(3)) <= 1e-14);
}
