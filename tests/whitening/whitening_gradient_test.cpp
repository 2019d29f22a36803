// SPDX-License-Identifier: MIT
// Every whitening's backward against differences of its forward: by x, gamma, beta and eps; groups, regularizations,
// fewer samples than features, numbers of steps; and what gradients obey whatever the loss.

#include <cmath>
#include <string>

#include "catch.hpp"
#include "laws/differences.hpp"
#include "laws/inputs.hpp"
#include "whitening/instances.hpp"

namespace {

using namespace foldnorm;
using laws::dependent;
using laws::normal;

// The loss <g, y> and its gradients by a layer made of options and method.
template <class Method>
struct LayerProblem {
  Matrix<double> x, g;
  Vector<double> gamma, beta;
  WhiteningOptions options;
  Method method;

  LayerProblem(Index d, Index m, WhiteningOptions const& how, Method const& by, unsigned seed)
      : x(dependent<double>(d, m, seed)),
        g(normal<double>(d, m, seed + 1)),
        gamma(normal<double>(d, 1, seed + 2, 1, .3)),
        beta(normal<double>(d, 1, seed + 3)),
        options(how),
        method(by) {}

  Whitening<double, Method> layer() const {
    Whitening<double, Method> layer(x.rows(), options, method);
    layer.gamma = gamma;
    layer.beta = beta;
    return layer;
  }
  double loss() const {
    typename Whitening<double, Method>::Cache cache;
    Matrix<double> y(x.rows(), x.cols());
    REQUIRE(wrote_output(layer().forward(x, y, cache).status));
    return laws::dot(g, y);
  }

  void check(double tolerance = 1e-9) {
    typename Whitening<double, Method>::Cache cache;
    Matrix<double> y(x.rows(), x.cols()), dx(x.rows(), x.cols());
    Vector<double> dgamma(x.rows()), dbeta(x.rows());
    layer().forward(x, y, cache);
    double const deps = layer().backward(g, cache, dx, dgamma, dbeta);
    double const size = 1 + dx.cwiseAbs().maxCoeff();
    for (Index j = 0; j < std::min<Index>(x.cols(), 4); ++j) {
      for (Index i = 0; i < x.rows(); ++i) {
        double const expected = laws::partial(x(i, j), [&] { return loss(); });
        INFO("x at " << i << ", " << j);
        CHECK(std::abs(dx(i, j) - expected) <= tolerance * size);
      }
    }
    for (Index i = 0; i < x.rows(); ++i) {
      CHECK(std::abs(dgamma(i) - laws::partial(gamma(i), [&] { return loss(); })) <= tolerance * size);
      CHECK(std::abs(dbeta(i) - laws::partial(beta(i), [&] { return loss(); })) <= tolerance * size);
    }
    if (options.covariance.eps > 2 * laws::step) {
      double const expected = laws::partial(options.covariance.eps, [&] { return loss(); });
      CHECK(std::abs(deps - expected) <= tolerance * (1 + std::abs(expected)) * size);
    }
    CHECK(dx.rowwise().sum().cwiseAbs().maxCoeff() <= 1e-12 * size * static_cast<double>(x.cols()));
  }
};

template <class Method>
void check_method(std::string const& what, Method const& method) {
  INFO(what);
  for (auto const form : {Regularization::absolute, Regularization::relative, Regularization::shrinkage}) {
    INFO("regularization " << static_cast<int>(form));
    LayerProblem<Method>(5, 12, {.covariance = {1, .2, form}}, method, 1001).check();
    LayerProblem<Method>(5, 3, {.covariance = {0, .2, form}}, method, 1011).check();  // fewer samples than features
  }
  LayerProblem<Method>(7, 20, {.covariance = {0, .01}, .group_size = 3}, method, 1021).check();  // 3 + 3 + 1
  LayerProblem<Method>(4, 30, {.covariance = {0, 0}}, method, 1031).check();
}

}  // namespace

TEST_CASE("whitening gradient: zca, powers, pca, cholesky, a function of the caller's") {
  check_method("zca", SpectralMethod<InverseSquareRoot>{});
  for (double const p : {.3, .5, .75, 1.0})
    check_method("power " + std::to_string(p), SpectralMethod<InversePower>{{p}});
  check_method("cholesky", CholeskyMethod{});
  LayerProblem<PcaMethod>(5, 12, {.covariance = {1, .05}}, {}, 1001).check();
  LayerProblem<PcaMethod>(7, 20, {.covariance = {0, .01}, .group_size = 3}, {}, 1021).check();
  LayerProblem<PcaMethod>(4, 30, {.covariance = {0, 0}}, {}, 1031).check();
  ScalarFunction const log_like{[](double l) { return 1 / (1 + l); },
                                [](double l) { return -1 / ((1 + l) * (1 + l)); }};
  check_method("1 / (1 + l)", SpectralMethod<decltype(log_like)>{log_like});
}

TEST_CASE("whitening gradient: IterNorm, every engine on its range of steps") {
  for (IterNormEngine const engine : iter_norm_engines) {
    check_method("engine " + std::to_string(static_cast<int>(engine)), IterNormMethod{5, engine});
    for (int steps = 0; steps <= 12; ++steps) {
      if (engine == IterNormEngine::newton && steps > 6) break;  // its rounding shows in the differences
      INFO("engine " << static_cast<int>(engine) << ", steps " << steps);
      LayerProblem<IterNormMethod>(4, 9, {.covariance = {0, .02}}, {steps, engine}, 1041).check();
      LayerProblem<IterNormMethod>(4, 3, {.covariance = {1, .1}}, {steps, engine}, 1051).check();
    }
  }
}

TEST_CASE("whitening gradient: engines agree, also where a direction has no variance and where eigenvalues coincide") {
  for (int steps = 0; steps <= 12; ++steps) {
    for (int const kind : {0, 1, 2}) {
      LayerProblem<IterNormMethod> problem(6, 24, {.covariance = {1, 0}}, {steps, IterNormEngine::spectral}, 1061);
      if (kind == 1) problem.x.row(2) = problem.x.row(0) + problem.x.row(1);
      if (kind == 2) {
        problem.x.setZero();  // covariance a multiple of I, to the last bit
        for (Index i = 0; i < 6; ++i) problem.x(i, 2 * i) = 1, problem.x(i, 2 * i + 1) = -1;
      }
      Matrix<double> y[3], dx[3];
      for (std::size_t i = 0; i < 3; ++i) {
        problem.method.engine = iter_norm_engines[i];
        WhiteningCache<double, IterNormMethod> cache;
        y[i].resize(6, 24);
        dx[i].resize(6, 24);
        problem.layer().forward(problem.x, y[i], cache);
        problem.layer().backward(problem.g, cache, dx[i], none, none);
      }
      INFO("steps " << steps << ", kind " << kind);
      // along an empty direction the gain is 1.5^T and its divided differences up to 1.5^3T
      double const u = 1e-15 * std::pow(3.4, steps);
      CHECK((y[1] - y[2]).norm() <= (1e-13 + u) * y[2].norm());
      CHECK((dx[1] - dx[2]).norm() <= (1e-13 + u) * dx[2].norm());
      if (steps > 7) continue;
      CHECK((y[0] - y[2]).norm() <= 1e-11 * y[2].norm());
      CHECK((dx[0] - dx[2]).norm() <= 1e-11 * dx[2].norm());
    }
  }
}

TEST_CASE("whitening gradient: of scale-invariant whitenings it does not change the size of x") {
  auto const check = [](auto const& method) {
    using Method = std::decay_t<decltype(method)>;
    LayerProblem<Method> problem(6, 15, {.covariance = {0, 0}}, method, 1071);
    typename Whitening<double, Method>::Cache cache;
    Matrix<double> y(6, 15), y_scaled(6, 15), dx(6, 15);
    problem.layer().forward(7 * problem.x, y_scaled, cache);
    problem.layer().forward(problem.x, y, cache);
    problem.layer().backward(problem.g, cache, dx, none, none);
    Matrix<double> const centered = problem.x.colwise() - problem.x.rowwise().mean();
    CHECK((y - y_scaled).cwiseAbs().maxCoeff() <= 1e-11);
    CHECK(std::abs(laws::dot(dx, centered)) <= 1e-13 * dx.norm() * centered.norm());
  };
  check(SpectralMethod<InverseSquareRoot>{});
  check(SpectralMethod<InversePower>{{.5}});
  check(PcaMethod{});
  check(CholeskyMethod{});
  for (IterNormEngine const engine : iter_norm_engines) {
    for (int const steps : {0, 1, 2, 5, 7}) check(IterNormMethod{steps, engine});
  }
}

TEST_CASE("whitening gradient: float follows double") {
  for (IterNormEngine const engine : iter_norm_engines) {
    LayerProblem<IterNormMethod> problem(16, 200, {}, {5, engine}, 1081);
    WhiteningCache<double, IterNormMethod> cache;
    Matrix<double> y(16, 200), dx(16, 200);
    problem.layer().forward(problem.x, y, cache);
    problem.layer().backward(problem.g, cache, dx, none, none);
    IterNorm<float> narrow(16, problem.options, problem.method);
    narrow.gamma = problem.gamma.cast<float>();
    narrow.beta = problem.beta.cast<float>();
    IterNorm<float>::Cache narrow_cache;
    Matrix<float> narrow_y(16, 200), narrow_dx(16, 200);
    narrow.forward(problem.x.cast<float>(), narrow_y, narrow_cache);
    narrow.backward(problem.g.cast<float>(), narrow_cache, narrow_dx, none, none);
    CHECK((narrow_y.cast<double>() - y).norm() <= 3e-6 * y.norm());
    CHECK((narrow_dx.cast<double>() - dx).norm() <= 3e-6 * dx.norm());
  }
}
