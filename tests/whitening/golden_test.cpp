// SPDX-License-Identifier: MIT
// Every whitening against vectors from an evaluation with 45 digits: forward, backward, gradient by eps.
#include "golden/golden.hpp"

#include <string>

#include "catch.hpp"
#include "whitening/instances.hpp"

namespace {

using namespace foldnorm;

constexpr double golden_tolerance = 1e-12;

double largest_difference(Matrix<double> const& a, Matrix<double> const& b) {
  REQUIRE(a.rows() == b.rows());
  REQUIRE(a.cols() == b.cols());
  return (a - b).cwiseAbs().maxCoeff();
}

template <class Method>
struct Case {
  std::string name;
  Method method;
};

// Runs the layer on the case's X and G, and compares what the file has of it; returns the cache for more.
template <class Method>
typename Whitening<double, Method>::Cache check_case(std::string const& name, Method const& method) {
  INFO(name);
  auto const& golden = golden::whitening();
  Matrix<double> const x = golden(name + "/X"), g = golden(name + "/G");
  WhiteningOptions options;
  options.covariance.eps = golden.number(name + "/eps");
  options.covariance.degrees_of_freedom_taken = static_cast<int>(x.cols() - Index(golden.number(name + "/nu")));
  Whitening<double, Method> const layer(x.rows(), options, method);
  typename Whitening<double, Method>::Cache cache;
  Matrix<double> y(x.rows(), x.cols()), dx(x.rows(), x.cols());
  WhiteningReport const report = layer.forward(x, y, cache);
  CHECK(wrote_output(report.status));
  CHECK(largest_difference(y, golden(name + "/Y")) <= golden_tolerance);
  double const deps = layer.backward(g, cache, dx, none, none);
  CHECK(largest_difference(dx, golden(name + "/dL_dX")) <= golden_tolerance);
  if (name == "GV-1") CHECK(std::abs(deps - golden.number("GV-1/dL_deps")) <= golden_tolerance);
  return cache;
}

int steps_of(std::string const& name) { return static_cast<int>(golden::whitening().number(name + "/T")); }

}  // namespace

TEST_CASE("golden: IterNorm, every engine") {
  for (IterNormEngine const engine : {IterNormEngine::newton, IterNormEngine::coupled, IterNormEngine::spectral}) {
    INFO("engine " << static_cast<int>(engine));
    for (std::string const name : {"GV-1", "GV-2", "GV-3a", "GV-3b", "GV-8", "GV-9b"}) {
      check_case(name, IterNormMethod{steps_of(name), engine});
    }
  }
}

TEST_CASE("golden: what lies between, GV-1") {
  auto const& golden = golden::whitening();
  auto const cache = check_case("GV-1", IterNormMethod{5, IterNormEngine::coupled});
  auto const& group = cache.groups[0];
  CHECK(largest_difference(cache.mean, golden("GV-1/mu")) <= golden_tolerance);
  CHECK(largest_difference(group.sigma, golden("GV-1/Sigma")) <= golden_tolerance);
  CHECK(std::abs(group.normalized.trace - golden.number("GV-1/t")) <= golden_tolerance);
  for (int k = 1; k <= 5; ++k) {
    CHECK(largest_difference(group.state.iterates.p[std::size_t(k)], golden("GV-1/P_" + std::to_string(k))) <=
          golden_tolerance);
  }
  double const t = group.normalized.trace;
  CHECK(largest_difference(group.normalized.p / std::sqrt(t), golden("GV-1/W")) <= golden_tolerance);
  CHECK(largest_difference(group.normalized.ds / t, golden("GV-1/dL_dSigma")) <= golden_tolerance);
}

TEST_CASE("golden: zca, power, pca, cholesky") {
  auto const& golden = golden::whitening();
  check_case("GV-4", SpectralMethod<InverseSquareRoot>{});
  check_case("GV-5", SpectralMethod<InversePower>{{golden.number("GV-5/p")}});
  check_case("GV-9a", SpectralMethod<InverseSquareRoot>{});
  auto const pca = check_case("GV-6", PcaMethod{});
  CHECK(largest_difference(pca.groups[0].state.u, golden("GV-6/U")) <= golden_tolerance);
  CHECK(largest_difference(pca.groups[0].normalized.ds / pca.groups[0].normalized.trace, golden("GV-6/dL_dSigma")) <=
        golden_tolerance);
  auto const cholesky = check_case("GV-7", CholeskyMethod{});
  double const t = cholesky.groups[0].normalized.trace;
  CHECK(largest_difference(cholesky.groups[0].normalized.p / std::sqrt(t), golden("GV-7/W")) <= golden_tolerance);
  CHECK(largest_difference(cholesky.groups[0].normalized.ds / t, golden("GV-7/dL_dSigma")) <= golden_tolerance);
}

TEST_CASE("golden: the scalar polynomial") {
  auto const& golden = golden::whitening();
  Matrix<double> const& steps = golden("GV-S/T");
  Vector<double> const s = golden("GV-S/s");
  for (Index j = 0; j < steps.cols(); ++j) {
    Vector<double> f;
    NewtonPolynomial{static_cast<int>(steps(j))}.values(s, f);
    Vector<double> const expected = golden("GV-S/f").col(j);
    CHECK((f - expected).cwiseQuotient(expected).cwiseAbs().maxCoeff() <= golden_tolerance);
    CHECK(largest_difference(s.cwiseProduct(f.cwiseAbs2()), golden("GV-S/phi").col(j)) <= golden_tolerance);
  }
}
