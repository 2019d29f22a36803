// SPDX-License-Identifier: MIT
// half and bfloat16: stored in 16 bits, computed in float, rounded once. (Every width: norm_width_test.cpp.)
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/reference.hpp"
#include "laws/tiers.hpp"

namespace {

using namespace laws;
using Eigen::bfloat16;
using Eigen::half;

#define FOLDNORM_HALF_NORMS \
  laws::LayerNormOf<half>, laws::RMSNormOf<half>, laws::LayerNormOf<bfloat16>, laws::RMSNormOf<bfloat16>

// +- 0.125: a shift near 0 would ask for E_y where only nrm can be promised.
template <class T>
Vector<T> half_beta(Index n) {
  return (normal<float>(n, 1, 601).array().sign() * 0.125f).matrix().template cast<T>();
}

template <class Norm, class P>
void check_forward(Matrix<typename Norm::Scalar> const& x, Vector<P> const& gamma, Vector<P> const& beta, float eps) {
  for (auto [accuracy, tier] : tiers) {
    auto const y = Norm::forward(x, gamma, beta, eps, accuracy);
    CHECK(forward_errors(y, x, gamma, beta, eps, Norm::subtracts_mean).y <= tier);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("half norms: y is the exact result rounded once, at any mean, with parameters in either type", "",
                   FOLDNORM_HALF_NORMS) {
  using T = typename TestType::Scalar;
  for (Index n = 1; n <= 768; n = n == 70 ? 768 : n + 1) {
    Vector<float> const gamma = normal<float>(n, 1, 602, 1, 0.3), beta = half_beta<float>(n);
    for (double mean : {0.0, 10.0, 100.0}) {
      auto const seed = unsigned(n) + 600;
      INFO("n " << n << ", mean " << mean << ", seed " << seed);
      Matrix<T> const x = normal<T>(n, 9, seed, mean);
      check_forward<TestType>(x, gamma, beta, 1e-5f);
      check_forward<TestType>(x, Vector<T>(gamma.cast<T>()), half_beta<T>(n), 1e-5f);
    }
  }
}

// Few columns convert gamma and beta each time, many work with copies in float; too long ones do so never.
TEMPLATE_TEST_CASE("half norms: a sample alone and one among others have the same bits", "", FOLDNORM_HALF_NORMS) {
  using T = typename TestType::Scalar;
  auto const check = [](auto const& x, auto const& gamma, auto const& beta, Index offset) {
    Index const n = x.rows();
    Vector<T> memory(offset + x.size());
    foldnorm::MatrixRef<T> const y = Eigen::Map<Matrix<T>>(memory.data() + offset, n, x.cols());
    TestType::forward(x, gamma, beta, 1e-5f, y);
    for (Index j = 0; j < x.cols(); ++j) {
      CHECK(same_bits(Matrix<T>(y.col(j)), TestType::forward(Matrix<T>(x.col(j)), gamma, beta, 1e-5f)));
    }
  };
  for (Index n : {1, 15, 31, 32, 33, 64, 65, 96, 100, 767, 768, 769, 4095, 4096, 4097}) {
    Matrix<T> const x = normal<T>(n, 9, 615);
    Vector<float> const gamma = normal<float>(n, 1, 616, 1, 0.3), beta = half_beta<float>(n);
    for (Index offset : {0, 1, 2, 31}) {
      INFO("n " << n << ", y begins " << offset << " values late");
      check(x, gamma, beta, offset);
      check(x, Vector<T>(gamma.cast<T>()), half_beta<T>(n), offset);
      check(x, Vector<T>(gamma.cast<T>()), none, offset);
    }
  }
}

TEMPLATE_TEST_CASE("half norms: the largest and the smallest values of the storage type are ordinary input", "",
                   FOLDNORM_HALF_NORMS) {
  using T = typename TestType::Scalar;
  float const top = std::is_same_v<T, half> ? 65504.0f : 3.3895314e38f, bottom = float(StorageLimits<T>::smallest);
  for (Index n : {2, 5, 8, 16, 33, 64, 300, 768}) {
    INFO("n " << n);
    Vector<float> const gamma = normal<float>(n, 1, 603, 1, 0.3), beta = half_beta<float>(n);
    Matrix<float> const sign = normal<float>(n, 9, 604).array().sign();
    check_forward<TestType>(Matrix<T>((sign * top).cast<T>()), gamma, beta, 1e-5f);
    check_forward<TestType>(uniform<T>(n, 9, 605, -double(top), double(top)), gamma, beta, 1e-5f);
    for (float eps : {1e-5f, 1e-12f, 1e-20f, 0.0f}) {
      INFO("eps " << eps);
      check_forward<TestType>(uniform<T>(n, 9, 606, -9 * double(bottom), 9 * double(bottom)), gamma, beta, eps);
    }
  }
}

TEMPLATE_TEST_CASE("half norms: y becomes infinite only where the exact result rounds to infinity", "",
                   FOLDNORM_HALF_NORMS) {
  using T = typename TestType::Scalar;
  float const top = std::is_same_v<T, half> ? 65504.0f : 3.3895314e38f;
  Index const n = 48;
  Matrix<T> const x = normal<T>(n, 9, 607);
  for (float share : {0.5f, 0.9f}) {
    Vector<float> const gamma = Vector<float>::Constant(n, share * top), beta = half_beta<float>(n);
    check_forward<TestType>(x, gamma, beta, 1e-5f);
    auto const y = TestType::forward(x, gamma, beta, 1e-5f).template cast<float>().eval();
    CHECK(y.array().isInf().any());
    CHECK(y.array().isFinite().any());
  }
}

TEMPLATE_TEST_CASE("half norms: a constant sample gives beta, bit for bit", "", LayerNormOf<half>,
                   LayerNormOf<bfloat16>) {
  using T = typename TestType::Scalar;
  for (Index n : {1, 2, 3, 7, 8, 16, 33, 64, 768}) {
    for (float constant : {1.0f / 3, 3.14159f, -65504.0f, 1.2e4f, 6e-8f, 0.0f}) {
      for (float eps : {1e-5f, 1e-12f, smallest_subnormal<float>, 0.0f}) {
        INFO("n " << n << ", constant " << constant << ", eps " << eps);
        Vector<T> const beta = normal<T>(n, 1, 608), gamma = normal<T>(n, 1, 609);
        for (auto [accuracy, tier] : tiers) {
          auto const y =
              TestType::forward(Matrix<T>(Matrix<T>::Constant(n, 3, T(constant))), gamma, beta, eps, accuracy);
          CHECK(same_bits(y, beta.replicate(1, 3)));
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE(
    "half norms: the gradients are the exact ones rounded once, and float outputs are not rounded to half", "",
    FOLDNORM_HALF_NORMS) {
  using T = typename TestType::Scalar;
  for (Index n : {1, 3, 8, 20, 64, 100, 768}) {
    for (double mean : {0.0, 10.0, 100.0}) {
      INFO("n " << n << ", mean " << mean);
      Matrix<T> const x = normal<T>(n, 300, 610, mean), dy = normal<T>(n, 300, 611);
      Vector<T> const gamma = normal<T>(n, 1, 612, 1, 0.3);
      for (auto [accuracy, tier] : tiers) {
        auto const ours = gradients<TestType>(dy, x, gamma, 1e-5f, accuracy);
        BackwardErrors const errors = backward_errors(ours, dy, x, gamma, 1e-5f, TestType::subtracts_mean);
        CHECK(errors.dx <= tier);
        CHECK(errors.dgamma <= tier);
        CHECK(errors.dbeta <= tier);

        Matrix<T> y(n, 300), dx(n, 300);
        Vector<float> dgamma(n), dbeta(n);
        NormStatistics<T> statistics;
        TestType::forward(x, gamma, none, 1e-5f, y, statistics, accuracy);
        TestType::backward(dy, x, gamma, statistics, dx, dgamma, dbeta, foldnorm::BackwardOptions{accuracy});
        CHECK(same_bits(dx, ours.dx));
        CHECK(same_bits(Vector<T>(dgamma.cast<T>()), ours.dgamma));
        CHECK(same_bits(Vector<T>(dbeta.cast<T>()), ours.dbeta));
        CHECK((n == 1 || !same_bits(Vector<float>(Vector<T>(dbeta.cast<T>()).template cast<float>()), dbeta)));
      }
    }
  }
}

TEMPLATE_TEST_CASE("half norms: NaN and inf do what they do in float", "", FOLDNORM_HALF_NORMS) {
  using T = typename TestType::Scalar;
  for (Index n : {3, 8, 33, 64}) {
    for (float bad : {not_a_number<float>, infinity<float>, -infinity<float>}) {
      for (Index i : {Index(0), n / 2, n - 1}) {
        INFO("n " << n << ", " << bad << " at feature " << i);
        Matrix<T> x = normal<T>(n, 9, 613);
        Vector<T> const gamma = normal<T>(n, 1, 614, 1, 0.3), beta = half_beta<T>(n);
        auto const good = TestType::forward(x, gamma, beta, 1e-5f);
        x(i, 4) = T(bad);
        auto const y = TestType::forward(x, gamma, beta, 1e-5f);
        for (Index j = 0; j < 9; ++j) {
          if (j != 4) CHECK(same_bits(y.col(j), good.col(j)));
        }
        for (Index k = 0; k < n; ++k) {
          bool const expect_nan = TestType::subtracts_mean || std::isnan(bad) || k == i;
          CHECK((expect_nan ? std::isnan(float(y(k, 4))) : y(k, 4) == beta[k]));
        }
      }
    }
  }
}
