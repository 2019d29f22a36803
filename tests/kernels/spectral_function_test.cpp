// SPDX-License-Identifier: MIT
#include <foldnorm/kernels/spectral_function.hpp>

#include <cmath>
#include <vector>

#include "catch.hpp"
#include "eigen_instances.hpp"
#include "kernels/spectra.hpp"

namespace {

using namespace foldnorm;
using namespace spectra;

Vector<double> ascending(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return Eigen::Map<Vector<double>>(values.data(), Index(values.size()));
}

template <class Function>
Matrix<double> differences(Function const& function, Vector<double> const& l) {
  Matrix<double> k;
  function.divided_differences(l, k);
  return k;
}

// (g(a) - g(b)) / (a - b) by the mean of g' over the way between, with 8 nodes of Gauss and Legendre in extended
// precision: no cancellation at any gap. Exact to 1e-15 for a / b up to about 2.
template <class Derivative>
Wide mean_derivative(Derivative derivative, double a, double b) {
  Wide const node[] = {.1834346424956498049L, .5255324099163289858L, .7966664774136267396L, .9602898564975362317L};
  Wide const weight[] = {.3626837833783619830L, .3137066458778872873L, .2223810344533744705L, .1012285362903762591L};
  Wide sum = 0;
  for (int i = 0; i < 4; ++i) {
    for (Wide const side : {-1.0L, 1.0L})
      sum += weight[i] * derivative((Wide(a) + b) / 2 + side * node[i] * (Wide(a) - b) / 2);
  }
  return sum / 2;
}

}  // namespace

TEST_CASE("spectral function: divided differences at close and equal arguments") {
  for (double const p : {.3, .45, .5, .75, 1.0}) {
    auto const derivative = [p](Wide l) { return -Wide(p) * std::pow(l, -Wide(p) - 1); };
    for (double const gap : {0.0, 1e-16, 1e-15, 1e-12, 1e-9, 1.1e-9, 1e-8, 1e-5, 1e-2, .3}) {
      for (double const l : {1e-8, .7, 3e5}) {
        Vector<double> const spectrum = ascending({l, l * (1 + gap)});
        double const expected = static_cast<double>(mean_derivative(derivative, spectrum(0), spectrum(1)));
        INFO("p " << p << ", gap " << gap << ", l " << l);
        Matrix<double> const k = differences(InversePower{p}, spectrum);
        CHECK(std::abs(k(0, 1) / expected - 1) <= 1e-14);
        CHECK(std::abs(k(1, 0) / expected - 1) <= 1e-14);
        CHECK(std::abs(k(0, 0) / static_cast<double>(derivative(spectrum(0))) - 1) <= 1e-14);
        if (p == .5) CHECK(std::abs(differences(InverseSquareRoot{}, spectrum)(1, 0) / expected - 1) <= 1e-14);
        ScalarFunction const given{[p](double x) { return std::pow(x, -p); },
                                   [p](double x) { return -p * std::pow(x, -p - 1); }};
        CHECK(std::abs(differences(given, spectrum)(1, 0) / expected - 1) <= 1e-9);
      }
    }
  }
}

TEST_CASE("spectral function: divided differences of l^-p at arguments far apart") {
  Matrix<double> const k = differences(InversePower{.5}, ascending({1e-20, 1}));
  for (double const entry : {k(0, 1), k(1, 0)}) CHECK(std::abs(entry / -1e10 - 1) <= 1e-9);  // (1 - 1e10) / (1 - 1e-20)
  Matrix<double> const reversed = differences(InversePower{.5}, Vector<double>{{1, 1e-20}});
  CHECK(reversed(0, 1) == k(1, 0));
  CHECK(reversed(1, 0) == k(1, 0));
}

TEST_CASE("spectral function: Newton's polynomial and its divided differences, any number of steps") {
  for (Wide const condition : {1.0L, 10.0L, 1e4L, 1e8L}) {
    Problem problem(17, condition, 901);
    std::sort(problem.l.data(), problem.l.data() + 17);
    problem.l(4) = problem.l(3);
    problem.l(0) = 0;
    Vector<double> const s = problem.l.cast<double>();
    problem.l = s.cast<Wide>();
    for (int const steps : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 50}) {
      auto const [f, k] = problem.polynomial(steps);
      NewtonPolynomial const function{steps};
      Vector<double> values;
      function.values(s, values);
      INFO("condition " << static_cast<double>(condition) << ", steps " << steps);
      CHECK((values.cast<Wide>() - f).cwiseQuotient(f).cwiseAbs().maxCoeff() <= 1e-13L);
      if (steps == 0) {
        CHECK(differences(function, s) == Matrix<double>::Zero(17, 17));
      } else {
        Matrix<double> const found = differences(function, s);
        CHECK((found.cast<Wide>() - k).cwiseQuotient(k).cwiseAbs().maxCoeff() <= 1e-13L);
        // the definition, where it does not cancel
        double const quotient = static_cast<double>((f(16) - f(1)) / (problem.l(16) - problem.l(1)));
        if (condition > 1) CHECK(std::abs(found(16, 1) / quotient - 1) <= 1e-13);
      }
    }
  }
}

TEMPLATE_TEST_CASE("spectral function: value and gradient of a matrix function", "", float, double) {
  double const tolerance = std::is_same_v<TestType, float> ? 2e-5 : 4e-14;
  for (int const steps : {0, 1, 5, 12, 50}) {
    Problem const problem(24, 100, 911);
    SpectralDecomposition<TestType> decomposition;
    REQUIRE(decompose(rounded<TestType>(problem.matrix()), decomposition));
    Vector<double> values;
    NewtonPolynomial{steps}.values(decomposition.eigenvalues, values);
    Matrix<TestType> p, ds;
    spectral_function(values, decomposition, p);
    CHECK(relative_error(p, problem.iterate(steps)) <= tolerance);
    if (steps == 0) continue;
    WideMatrix direction = random_matrix(24, 24, 912);
    spectral_function_backward(differences(NewtonPolynomial{steps}, decomposition.eigenvalues),
                               rounded<TestType>(direction), decomposition, ds);
    direction = (direction + direction.transpose().eval()) / 2;
    CHECK(relative_error(ds, problem.derivative(steps, direction)) <= tolerance);
  }
}

TEST_CASE("spectral function: a bad matrix has no decomposition") {
  SpectralDecomposition<double> decomposition;
  CHECK_FALSE(decompose<double>(Matrix<double>::Constant(3, 3, std::nan("")), decomposition));
}
