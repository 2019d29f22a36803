// SPDX-License-Identifier: MIT
// What the norms promise exactly, without a tolerance, and what degenerate and non-finite input leads to.
#include <cmath>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/tiers.hpp"

namespace {

using namespace laws;

template <class Scalar>
Vector<Scalar> test_gamma(Index n) {
  return normal<Scalar>(n, 1, 201, 1, 0.5);
}
template <class Scalar>
Vector<Scalar> test_beta(Index n) {
  return normal<Scalar>(n, 1, 202);
}

template <class Vector>
bool all_nan(Vector const& v) {
  return v.array().isNaN().all();
}

}  // namespace

TEMPLATE_TEST_CASE("layer_norm: a constant sample gives beta, bit for bit", "", float, double) {
  using Scalar = TestType;
  auto const pi = Scalar(3.14159265358979323846);
  for (Scalar constant : {Scalar(1) / 3, pi, Scalar(1e30), -Scalar(1.2e8), largest<Scalar>, -largest<Scalar>,
                          std::numeric_limits<Scalar>::min() / 3, smallest_subnormal<Scalar>, Scalar(0)}) {
    for (Scalar eps : {Scalar(1e-5), std::numeric_limits<Scalar>::min(), smallest_subnormal<Scalar>, Scalar(0)}) {
      for (Index n : {1, 2, 3, 7, 16, 33, 768, 1001}) {
        for (Accuracy accuracy : both_modes) {
          INFO("constant " << constant << ", eps " << eps << ", n " << n);
          Vector<Scalar> const beta = test_beta<Scalar>(n);
          Matrix<Scalar> const x = Matrix<Scalar>::Constant(n, 2, constant);
          Matrix<Scalar> const y = foldnorm::layer_norm(x, test_gamma<Scalar>(n), beta, eps, accuracy);
          REQUIRE(same_bits(y, beta.replicate(1, 2)));
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("layer_norm: with one feature y is beta and the gradient of x is 0", "", float, double) {
  using Scalar = TestType;
  for (Scalar eps : {Scalar(0), Scalar(1e-5)}) {
    Matrix<Scalar> const x = normal<Scalar>(1, 50, 203, 0, 1e3);
    Matrix<Scalar> const dy = normal<Scalar>(1, 50, 204);
    Vector<Scalar> const gamma = test_gamma<Scalar>(1), beta = test_beta<Scalar>(1);
    CHECK(same_bits(foldnorm::layer_norm(x, gamma, beta, eps), beta.replicate(1, 50)));
    auto const ours = gradients<LayerNormOf<Scalar>>(dy, x, gamma, eps);
    CHECK(same_values(ours.dx, Matrix<Scalar>::Zero(1, 50)));
    CHECK(same_values(ours.dgamma, Vector<Scalar>::Zero(1)));
  }
}

TEMPLATE_TEST_CASE("layer_norm: the gradient of a constant sample is (g - mean g) / sqrt(eps)", "", float, double) {
  using Scalar = TestType;
  Vector<Scalar> const ones = Vector<Scalar>::Ones(4);
  Matrix<Scalar> dy(4, 1);
  dy << 1, 2, 3, 6;
  for (Scalar constant : {Scalar(3), Scalar(1e30), largest<Scalar>, smallest_subnormal<Scalar>}) {
    INFO("constant " << constant);
    auto const ours = gradients<LayerNormOf<Scalar>>(dy, Matrix<Scalar>::Constant(4, 1, constant), ones, Scalar(0.25));
    CHECK(same_values(ours.dx, Scalar(2) * (dy.array() - 3).matrix()));
  }
}

TEMPLATE_TEST_CASE("norms: a zero dy gives exactly zero gradients", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> x = normal<Scalar>(37, 5, 205, 100);
  x.col(3).setConstant(7);
  x.col(4).setZero();
  for (Scalar eps : {Scalar(0), Scalar(1e-5)}) {
    auto const ours = gradients<TestType>(Matrix<Scalar>::Zero(37, 5), x, test_gamma<Scalar>(37), eps);
    CHECK(same_values(ours.dx, Matrix<Scalar>::Zero(37, 5)));
    CHECK(same_values(ours.dgamma, Vector<Scalar>::Zero(37)));
    CHECK(same_values(ours.dbeta, Vector<Scalar>::Zero(37)));
  }
}

TEMPLATE_TEST_CASE("norms: without spread and eps, xhat is 0: y is beta, dx is 0, dgamma gains nothing", "",
                   FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> x = normal<Scalar>(20, 3, 206);
  Matrix<Scalar> const dy = normal<Scalar>(20, 3, 207);
  x.col(1).setConstant(TestType::subtracts_mean ? Scalar(5) : Scalar(0));
  Vector<Scalar> const gamma = test_gamma<Scalar>(20), beta = test_beta<Scalar>(20);
  CHECK(same_bits(Matrix<Scalar>(TestType::forward(x, gamma, beta, Scalar(0)).col(1)), beta));
  auto const ours = gradients<TestType>(dy, x, gamma, Scalar(0));
  CHECK(same_values(ours.dx.col(1), Vector<Scalar>::Zero(20)));
  Matrix<Scalar> without(20, 2), dy_without(20, 2);
  without << x.col(0), x.col(2);
  dy_without << dy.col(0), dy.col(2);
  CHECK(same_bits(ours.dgamma, gradients<TestType>(dy_without, without, gamma, Scalar(0)).dgamma));
}

TEMPLATE_TEST_CASE("norms: a sample's bits depend on nothing but the sample", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index n : {1, 5, 16, 63, 300}) {
    INFO("n " << n);
    Vector<Scalar> const gamma = test_gamma<Scalar>(n), beta = test_beta<Scalar>(n);
    Matrix<Scalar> const x = normal<Scalar>(n, 9, 208, 3), dy = normal<Scalar>(n, 9, 209);
    auto const eps = Scalar(1e-5);
    Matrix<Scalar> const y = TestType::forward(x, gamma, beta, eps);
    Matrix<Scalar> const dx = gradients<TestType>(dy, x, gamma, eps).dx;
    for (Index j = 0; j < 9; ++j) {
      CHECK(same_bits(Matrix<Scalar>(y.col(j)), TestType::forward(x.col(j), gamma, beta, eps)));
      CHECK(same_bits(Matrix<Scalar>(dx.col(j)), gradients<TestType>(dy.col(j), x.col(j), gamma, eps).dx));
    }
    CHECK(same_bits(y, TestType::forward(x, gamma, beta, eps)));
  }
}

TEMPLATE_TEST_CASE("norms: bad samples leave the bits of all others unchanged", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Index const n = 21;
  Vector<Scalar> const gamma = test_gamma<Scalar>(n), beta = test_beta<Scalar>(n);
  Matrix<Scalar> const good = normal<Scalar>(n, 6, 210), dy = normal<Scalar>(n, 6, 211);
  Matrix<Scalar> x = good;
  x(0, 1) = not_a_number<Scalar>;
  x(20, 3) = infinity<Scalar>;
  x(7, 4) = -infinity<Scalar>;
  auto const eps = Scalar(1e-5);
  Matrix<Scalar> const y = TestType::forward(x, gamma, beta, eps);
  Matrix<Scalar> const y_good = TestType::forward(good, gamma, beta, eps);
  auto const ours = gradients<TestType>(dy, x, gamma, eps);
  auto const ours_good = gradients<TestType>(dy, good, gamma, eps);
  for (Index j : {0, 2, 5}) {
    CHECK(same_bits(y.col(j), y_good.col(j)));
    CHECK(same_bits(ours.dx.col(j), ours_good.dx.col(j)));
  }
  CHECK(all_nan(y.col(1)));
  CHECK(all_nan(ours.dgamma));  // sample 1 has no finite xhat
  CHECK(same_bits(ours.dbeta, ours_good.dbeta));
}

TEMPLATE_TEST_CASE("norms: NaN anywhere in x makes its sample NaN", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index i = 0; i < 35; ++i) {
    INFO("at feature " << i);
    Matrix<Scalar> x = normal<Scalar>(35, 1, 212);
    x(i, 0) = not_a_number<Scalar>;
    for (Accuracy accuracy : both_modes) CHECK(all_nan(TestType::forward(x, none, none, Scalar(0), accuracy)));
    CHECK(all_nan(gradients<TestType>(Matrix<Scalar>::Ones(35, 1), x, Vector<Scalar>::Ones(35), Scalar(1)).dx));
  }
}

TEMPLATE_TEST_CASE("norms: inf makes a LayerNorm sample NaN, an RMSNorm sample NaN at the inf and 0 elsewhere", "",
                   FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index i : {0, 3, 17, 34}) {
    for (Scalar bad : {infinity<Scalar>, -infinity<Scalar>}) {
      INFO(bad << " at feature " << i);
      Matrix<Scalar> x = normal<Scalar>(35, 1, 213);
      x(i, 0) = bad;
      Vector<Scalar> const beta = test_beta<Scalar>(35);
      Matrix<Scalar> const y = TestType::forward(x, none, beta, Scalar(1e-5));
      auto const ours = gradients<TestType>(Matrix<Scalar>::Ones(35, 1), x, Vector<Scalar>::Ones(35), Scalar(1e-5));
      for (Index k = 0; k < 35; ++k) {
        bool const expect_nan = TestType::subtracts_mean || k == i;
        CHECK((expect_nan ? std::isnan(y(k, 0)) : y(k, 0) == beta[k]));
        CHECK(std::isnan(ours.dgamma[k]) == expect_nan);
        CHECK(ours.dbeta[k] == 1);
      }
    }
  }
}

TEMPLATE_TEST_CASE("norms: NaN in gamma or beta spoils its own feature, and through gamma every dx", "",
                   FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Index const n = 19;
  Matrix<Scalar> const x = normal<Scalar>(n, 4, 214), dy = normal<Scalar>(n, 4, 215);
  Vector<Scalar> gamma = test_gamma<Scalar>(n), beta = test_beta<Scalar>(n);
  Matrix<Scalar> const y = TestType::forward(x, gamma, beta, Scalar(1e-5));
  beta[4] = not_a_number<Scalar>;
  gamma[11] = not_a_number<Scalar>;
  Matrix<Scalar> const bad = TestType::forward(x, gamma, beta, Scalar(1e-5));
  for (Index i = 0; i < n; ++i) {
    if (i == 4 || i == 11) {
      CHECK(all_nan(bad.row(i)));
    } else {
      CHECK(same_bits(bad.row(i), y.row(i)));
    }
  }
  auto const ours = gradients<TestType>(dy, x, gamma, Scalar(1e-5));
  CHECK(all_nan(ours.dx));
  CHECK(ours.dgamma.array().isFinite().all());
}

TEMPLATE_TEST_CASE("norms: NaN in dy spoils dx of its sample and dgamma, dbeta of its feature", "",
                   FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index n : {1, 19}) {
    for (Accuracy accuracy : both_modes) {
      Matrix<Scalar> const x = normal<Scalar>(n, 3, 216);
      Matrix<Scalar> dy = normal<Scalar>(n, 3, 217);
      auto const good = gradients<TestType>(dy, x, test_gamma<Scalar>(n), Scalar(1e-5), accuracy);
      dy(n - 1, 1) = not_a_number<Scalar>;
      auto const ours = gradients<TestType>(dy, x, test_gamma<Scalar>(n), Scalar(1e-5), accuracy);
      CHECK(all_nan(ours.dx.col(1)));
      CHECK(same_bits(ours.dx.col(0), good.dx.col(0)));
      CHECK(same_bits(ours.dx.col(2), good.dx.col(2)));
      CHECK((std::isnan(ours.dgamma[n - 1]) && std::isnan(ours.dbeta[n - 1])));
      Vector<Scalar> const dgamma = good.dgamma.head(n - 1), dbeta = good.dbeta.head(n - 1);
      if (accuracy == Accuracy::accurate) {
        CHECK(same_bits(ours.dgamma.head(n - 1), dgamma));
        CHECK(same_bits(ours.dbeta.head(n - 1), dbeta));
      } else {
        // The spoilt sample's other terms are computed in double, so they may round otherwise. Of each feature: 3 terms
        // dy * xhat with |xhat| < 2, a few roundings each.
        auto const terms = dy.topRows(n - 1).cwiseAbs().rowwise().sum().array();
        auto const u = std::numeric_limits<Scalar>::epsilon() / 2;
        CHECK(((ours.dgamma.head(n - 1) - dgamma).array().abs() <= 8 * 2 * u * terms).all());
        CHECK(((ours.dbeta.head(n - 1) - dbeta).array().abs() <= 8 * u * terms).all());
      }
    }
  }
}

TEMPLATE_TEST_CASE("norms: an eps that is NaN, inf or negative throws before anything is written", "",
                   FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> const x = Matrix<Scalar>::Ones(3, 2);
  for (Scalar eps :
       {not_a_number<Scalar>, infinity<Scalar>, -infinity<Scalar>, Scalar(-0.5), -smallest_subnormal<Scalar>}) {
    Matrix<Scalar> y = Matrix<Scalar>::Constant(3, 2, 42);
    CHECK_THROWS_AS(TestType::forward(x, none, none, eps, y), std::invalid_argument);
    CHECK(same_bits(y, Matrix<Scalar>::Constant(3, 2, 42)));
  }
  CHECK_NOTHROW(TestType::forward(x, none, none, Scalar(-0.0)));
}

TEMPLATE_TEST_CASE("norms: eps counts down to the smallest subnormal", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  auto const eps = smallest_subnormal<Scalar>;
  auto const root = std::sqrt(static_cast<long double>(eps));
  Matrix<Scalar> x(2, 1);
  x << Scalar(root), -Scalar(root);  // moment == eps up to rounding, so xhat = 1 / sqrt(2)
  Matrix<Scalar> const y = TestType::forward(x, none, none, eps);
  CHECK(std::abs(y(0, 0) - Scalar(0.70710678118654752)) <= 8 * std::numeric_limits<Scalar>::epsilon());
}

TEMPLATE_TEST_CASE("norms: zero samples and zero features are legal and empty", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (auto [n, m] : {std::pair<Index, Index>{5, 0}, {0, 5}, {0, 0}}) {
    INFO(n << "x" << m);
    Matrix<Scalar> const x(n, m);
    Matrix<Scalar> y(n, m), dx(n, m);
    NormStatistics<Scalar> statistics;
    TestType::forward(x, Vector<Scalar>(n), Vector<Scalar>(n), Scalar(0), y, statistics);
    CHECK(statistics.features == n);
    CHECK(Index(statistics.samples.size()) == m);
    Vector<Scalar> dgamma = Vector<Scalar>::Ones(n), dbeta = Vector<Scalar>::Ones(n);
    TestType::backward(x, x, Vector<Scalar>(n), statistics, dx, dgamma, dbeta);
    CHECK(same_bits(dgamma, Vector<Scalar>::Zero(n)));
    CHECK(same_bits(dbeta, Vector<Scalar>::Zero(n)));
  }
}

TEMPLATE_TEST_CASE("norms: wrong shapes throw shape_error, name both, and write nothing", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> const x = Matrix<Scalar>::Random(5, 3), wide = Matrix<Scalar>::Random(5, 4);
  Vector<Scalar> const six = Vector<Scalar>::Ones(6);
  Matrix<Scalar> const untouched = Matrix<Scalar>::Constant(5, 3, 42);
  Matrix<Scalar> y = untouched, narrow(5, 2);
  auto const eps = Scalar(1e-5);
  CHECK_THROWS_AS(TestType::forward(x, none, none, eps, narrow), foldnorm::shape_error);
  CHECK_THROWS_WITH(TestType::forward(x, six, none, eps, y),
                    Catch::Contains("gamma") && Catch::Contains("6") && Catch::Contains("5"));
  CHECK_THROWS_WITH(TestType::forward(x, none, six, eps, y), Catch::Contains("beta"));
  CHECK_THROWS_WITH(TestType::forward(wide, none, none, eps, y), Catch::Contains("5x4 vs 5x3"));
  NormStatistics<Scalar> statistics, other;
  Matrix<Scalar> z(5, 3), wide_z(5, 4);
  TestType::forward(x, none, none, eps, z, statistics);
  TestType::forward(wide, none, none, eps, wide_z, other);
  Vector<Scalar> d5 = Vector<Scalar>::Constant(5, 42), d6(6);
  CHECK_THROWS_WITH(TestType::backward(wide, x, none, statistics, y, d5, none), Catch::Contains("dy, x"));
  CHECK_THROWS_WITH(TestType::backward(x, x, none, statistics, narrow, d5, none), Catch::Contains("dy, dx"));
  CHECK_THROWS_WITH(TestType::backward(x, x, six, statistics, y, d5, none), Catch::Contains("gamma"));
  CHECK_THROWS_WITH(TestType::backward(x, x, none, statistics, y, d6, none), Catch::Contains("dgamma"));
  CHECK_THROWS_WITH(TestType::backward(x, x, none, statistics, y, d5, d6), Catch::Contains("dbeta"));
  CHECK_THROWS_WITH(TestType::backward(x, x, none, other, y, d5, none), Catch::Contains("statistics"));
  CHECK(same_bits(y, untouched));
  CHECK(same_bits(d5, Vector<Scalar>::Constant(5, 42)));
}
