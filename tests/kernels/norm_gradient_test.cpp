// SPDX-License-Identifier: MIT
// Gradients against differences of the forward, and laws that need no reference.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <foldnorm/kernels/center.hpp>

#include "catch.hpp"
#include "laws/differences.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/reference.hpp"
#include "laws/tiers.hpp"

namespace {

using namespace laws;

}  // namespace

TEMPLATE_TEST_CASE("norms: dx, dgamma and dbeta are the derivatives of the forward", "", laws::LayerNormOf<double>,
                   laws::RMSNormOf<double>) {
  for (Index n : {2, 5, 12}) {
    INFO("n " << n);
    Matrix<double> const x = normal<double>(n, 3, 401, 0.5), dy = normal<double>(n, 3, 402);
    Vector<double> const gamma = normal<double>(n, 1, 403, 1, 0.3), beta = normal<double>(n, 1, 404);
    double const eps = 0.1;  // large beside the step, so that the higher derivatives stay of order 1
    auto const ours = gradients<TestType>(dy, x, gamma, eps);
    for (Index i = 0; i < n; ++i) {
      for (Index j = 0; j < 3; ++j) {
        double const expected = derivative([&](double h) {
          Matrix<double> moved = x;
          moved(i, j) += h;
          return dot(dy, TestType::forward(moved, gamma, beta, eps));
        });
        CHECK(std::abs(ours.dx(i, j) - expected) <= difference_tolerance);
      }
      Vector<double> const axis = Vector<double>::Unit(n, i);
      double const expected_dgamma =
          derivative([&](double h) { return dot(dy, TestType::forward(x, gamma + h * axis, beta, eps)); });
      double const expected_dbeta =
          derivative([&](double h) { return dot(dy, TestType::forward(x, gamma, beta + h * axis, eps)); });
      CHECK(std::abs(ours.dgamma[i] - expected_dgamma) <= difference_tolerance);
      CHECK(std::abs(ours.dbeta[i] - expected_dbeta) <= difference_tolerance);
    }
  }
}

TEMPLATE_TEST_CASE("norms: the backward is the adjoint of the forward's derivative", "", laws::LayerNormOf<double>,
                   laws::RMSNormOf<double>) {
  Index const n = 40;
  Matrix<double> const x = normal<double>(n, 2, 405, 1), dy = normal<double>(n, 2, 406), v = normal<double>(n, 2, 407);
  Vector<double> const gamma = normal<double>(n, 1, 408, 1, 0.3);
  auto const ours = gradients<TestType>(dy, x, gamma, 0.1);
  double const forward = derivative([&](double h) { return dot(dy, TestType::forward(x + h * v, gamma, none, 0.1)); });
  CHECK(std::abs(dot(ours.dx, v) - forward) <= 10 * difference_tolerance);  // 80 terms: about sqrt(80) of one
}

TEMPLATE_TEST_CASE("norms: gradients are linear in dy", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Index const n = 50;
  Matrix<Scalar> const x = normal<Scalar>(n, 3, 409, 2), a = normal<Scalar>(n, 3, 410), b = normal<Scalar>(n, 3, 411);
  Vector<Scalar> const gamma = normal<Scalar>(n, 1, 412, 1, 0.3);
  auto const of = [&](Matrix<Scalar> const& dy) { return gradients<TestType>(dy, x, gamma, Scalar(1e-5)); };
  CHECK(same_bits(of(4 * a).dx, 4 * of(a).dx));
  // Two more gradients than dx = rstd * terms, each within tier 1; the terms are below 8 on N(0, 1) data.
  Scalar const tolerance = Scalar(3 * tier_1 * 8) * std::numeric_limits<Scalar>::epsilon();
  CHECK((of(a + b).dx - of(a).dx - of(b).dx).cwiseAbs().maxCoeff() <= tolerance);
}

TEMPLATE_TEST_CASE("norms: dot(dx, xhat) = rstd dot(g, xhat) eps / (moment + eps), and a LayerNorm's dx sums to 0", "",
                   FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Index const n = 100;
  Matrix<Scalar> const x = normal<Scalar>(n, 1, 413, 2), dy = normal<Scalar>(n, 1, 414);
  Vector<Scalar> const ones = Vector<Scalar>::Ones(n);
  Scalar const eps = Scalar(0.5);
  WideNorm<Scalar> const norm(x, eps, TestType::subtracts_mean);
  Matrix<Wide> const dx = gradients<TestType>(dy, x, ones, eps).dx.template cast<Wide>();
  Wide const rstd = norm.inverse_deviation[0];
  Wide const g_xhat = dy.template cast<Wide>().cwiseProduct(norm.xhat).sum();
  Wide const along = dx.cwiseProduct(norm.xhat).sum();
  // n elements of dx, each within tier 1 of terms below 8 * rstd, times |xhat| <= 4
  Wide const tolerance = Wide(tier_1) * 8 * 4 * Wide(n) * unit_roundoff<Scalar> * rstd;
  CHECK(std::abs(along - rstd * g_xhat * Wide(eps) * rstd * rstd) <= tolerance);
  if (TestType::subtracts_mean) CHECK(std::abs(dx.sum()) <= tolerance);
}

TEMPLATE_TEST_CASE("layer_norm: adding a constant to x changes nothing, where the sums are exact", "", float, double) {
  using Scalar = TestType;
  // Multiples of 2^-6 below 2^4, shifted by 2^10: exact in float, and so are all sums in double.
  Matrix<Scalar> const x = (normal<Scalar>(64, 5, 415) * 64).array().round().matrix() / 64;
  Matrix<Scalar> const shifted = (x.array() + 1024).matrix();
  CHECK(same_bits(foldnorm::layer_norm(shifted, none, none, Scalar(1e-5), Accuracy::accurate),
                  foldnorm::layer_norm(x, none, none, Scalar(1e-5), Accuracy::accurate)));
  CHECK((foldnorm::layer_norm(shifted, none, none, Scalar(1e-5)) - foldnorm::layer_norm(x, none, none, Scalar(1e-5)))
            .cwiseAbs()
            .maxCoeff() <= Scalar(tier_1) * std::numeric_limits<Scalar>::epsilon());
}

TEMPLATE_TEST_CASE("rms_norm: adding a constant to x does change the result", "", float, double) {
  Matrix<TestType> const x = normal<TestType>(64, 5, 416);
  Matrix<TestType> const y = foldnorm::rms_norm(x, none, none, TestType(1e-5));
  Matrix<TestType> const shifted = foldnorm::rms_norm((x.array() + 3).matrix(), none, none, TestType(1e-5));
  CHECK((y - shifted).cwiseAbs().maxCoeff() > TestType(0.1));
}

// Widths of the short path, between them, and beyond.
constexpr Index path_widths[] = {5, 8, 16, 32, 64, 70, 100, 128, 768};

TEMPLATE_TEST_CASE("norms: x 2^k with eps 4^k gives the same bits", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index n : path_widths) {
    Matrix<Scalar> const x = normal<Scalar>(n, 11, 417, 3);
    auto const gamma = Vector<Scalar>(normal<Scalar>(n, 1, 418)), beta = Vector<Scalar>(normal<Scalar>(n, 1, 419));
    Matrix<Scalar> const y = TestType::forward(x, gamma, beta, Scalar(0x1p-16));
    for (int k : {-20, -3, 1, 20}) {
      INFO("n " << n << ", k " << k);
      Matrix<Scalar> const scaled_x = x * std::ldexp(Scalar(1), k);
      CHECK(same_bits(TestType::forward(scaled_x, gamma, beta, std::ldexp(Scalar(1), 2 * k - 16)), y));
    }
  }
}

TEMPLATE_TEST_CASE("norms: permuting samples permutes y bit for bit, permuting features permutes it within tier 1", "",
                   FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index n : path_widths) {
    INFO("n " << n << ", seeds 420, 421");
    Index const m = 21;
    Matrix<Scalar> x = normal<Scalar>(n, m, 420, 3);
    x.col(4).setConstant(2);  // takes a way of its own, wherever it goes
    x.col(9) *= Scalar(1e30);
    Eigen::PermutationMatrix<Eigen::Dynamic> samples(m), features(n);
    samples.setIdentity();
    features.setIdentity();
    std::mt19937 engine(421);
    std::shuffle(samples.indices().begin(), samples.indices().end(), engine);
    std::shuffle(features.indices().begin(), features.indices().end(), engine);
    Matrix<Scalar> const y = TestType::forward(x, none, none, Scalar(1e-5));
    Matrix<Scalar> const moved_samples = x * samples, moved_features = features * x;
    CHECK(same_bits(TestType::forward(moved_samples, none, none, Scalar(1e-5)), Matrix<Scalar>(y * samples)));
    Matrix<Scalar> const permuted = features.inverse() * TestType::forward(moved_features, none, none, Scalar(1e-5));
    // |y| < 4, both sides within tier 1 (the fast float figures are below 4)
    CHECK((permuted - y).cwiseAbs().maxCoeff() <= Scalar(2 * tier_1 * 4) * std::numeric_limits<Scalar>::epsilon() / 2);
  }
}

TEMPLATE_TEST_CASE("norms: duplicating every feature leaves the output where it was", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> const x = normal<Scalar>(33, 4, 422, 3);
  Matrix<Scalar> const y = TestType::forward(x, none, none, Scalar(1e-5));
  Matrix<Scalar> const twice = TestType::forward(x.replicate(2, 1), none, none, Scalar(1e-5));
  Scalar const tolerance = Scalar(2 * tier_1 * 4) * std::numeric_limits<Scalar>::epsilon() / 2;  // |y| < 4
  CHECK((twice - y.replicate(2, 1)).cwiseAbs().maxCoeff() <= tolerance);
}

TEMPLATE_TEST_CASE("layer_norm is rms_norm after center, forward and backward", "", float, double) {
  using Scalar = TestType;
  Index const n = 60;
  Matrix<Scalar> const x = normal<Scalar>(n, 5, 423, 1), dy = normal<Scalar>(n, 5, 424);
  Vector<Scalar> const gamma = normal<Scalar>(n, 1, 425, 1, 0.3), beta = normal<Scalar>(n, 1, 426);
  auto const eps = Scalar(1e-5);
  Matrix<Scalar> const centered = foldnorm::center(x);
  // center rounds once more, which moves rstd and xhat by a few u; |y| < 8, |dx| terms < 16
  Scalar const tolerance = Scalar(4 * tier_1 * 8) * std::numeric_limits<Scalar>::epsilon();
  CHECK((foldnorm::layer_norm(x, gamma, beta, eps) - foldnorm::rms_norm(centered, gamma, beta, eps))
            .cwiseAbs()
            .maxCoeff() <= tolerance);
  auto const whole = gradients<LayerNormOf<Scalar>>(dy, x, gamma, eps);
  auto const steps = gradients<RMSNormOf<Scalar>>(dy, centered, gamma, eps);
  CHECK((whole.dx - foldnorm::center(steps.dx)).cwiseAbs().maxCoeff() <= tolerance);
  CHECK((whole.dgamma - steps.dgamma).cwiseAbs().maxCoeff() <= 5 * tolerance);
}

TEMPLATE_TEST_CASE("norms: a gradient of about 1e-13 keeps its digits", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  // dy parallel to xhat leaves dx = rstd * dy * eps / (moment + eps): the terms cancel to eps = 1e-13 of their size.
  Matrix<Scalar> const x = normal<Scalar>(64, 2, 427), dy = TestType::forward(x, none, none, Scalar(0));
  auto const ours = gradients<TestType>(dy, x, Vector<Scalar>::Ones(64), Scalar(1e-13));
  BackwardErrors const errors =
      backward_errors(ours, dy, x, Vector<Scalar>(Vector<Scalar>::Ones(64)), Scalar(1e-13), TestType::subtracts_mean);
  CHECK(errors.dx <= tier_1);
}
