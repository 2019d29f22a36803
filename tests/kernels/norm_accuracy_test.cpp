// SPDX-License-Identifier: MIT
// The accuracy tiers of docs/numerics.md over its classes of input, against long double.
#include <cmath>
#include <iomanip>
#include <iostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/reference.hpp"
#include "laws/tiers.hpp"

namespace {

using namespace laws;

template <class Scalar>
struct InputClass {
  std::string name;
  Matrix<Scalar> x;
  Scalar eps;
  double dy_size;  // gradients of the sample's own size where 1 / deviation would take dx out of range
};

// N(0, 1), but for the first features, from which the fast mode takes its guess K at the mean: they say 1e4.
template <class Scalar>
Matrix<Scalar> far_first_pack(Index n, Index m, unsigned seed) {
  Matrix<Scalar> x = normal<Scalar>(n, m, seed);
  x.topRows(8).array() += Scalar(1e4);
  return x;
}

template <class Scalar>
std::vector<InputClass<Scalar>> input_classes() {
  auto const eps = Scalar(1e-5);
  std::vector<InputClass<Scalar>> classes;
  for (Index n : {2, 3, 5, 16, 17, 100, 768}) {
    classes.push_back({"ordinary, n " + std::to_string(n), normal<Scalar>(n, 40, unsigned(n)), eps, 1});
  }
  for (double mean : {10.0, 1e3, 1e6}) {
    classes.push_back({"mean " + std::to_string(int(mean)), normal<Scalar>(768, 40, 11, mean), eps, 1});
  }
  for (Index n : {16, 32, 64, 100, 768}) {
    classes.push_back({"first 8 of " + std::to_string(n) + " at 1e4", far_first_pack<Scalar>(n, 19, 23), eps, 1});
    classes.push_back(
        {"feature 0 of " + std::to_string(n) + " at 1e3", outliers<Scalar>(n, 19, 24, Scalar(1e3)), eps, 1});
  }
  classes.push_back({"outlier 1e4", outliers<Scalar>(768, 16, 12, Scalar(1e4)), eps, 1});
  classes.push_back({"outlier 1e18", outliers<Scalar>(768, 16, 13, Scalar(1e18)), eps, 1});
  classes.push_back({"1e-20, eps 0", normal<Scalar>(300, 16, 14, 0, 1e-20), 0, 1e-20});
  classes.push_back({"1e-20, eps 1e-5", normal<Scalar>(300, 16, 15, 0, 1e-20), eps, 1});
  classes.push_back({"spread to the largest",
                     uniform<Scalar>(300, 16, 16, -double(largest<Scalar>), double(largest<Scalar>)), eps, 1});
  auto const subnormal = double(std::numeric_limits<Scalar>::min()) / 64;
  classes.push_back({"subnormal, eps 0", uniform<Scalar>(300, 16, 17, -subnormal, subnormal), 0, subnormal});
  classes.push_back({"subnormal, eps 1e-5", uniform<Scalar>(300, 16, 18, -subnormal, subnormal), eps, 1});
  if constexpr (std::is_same_v<Scalar, float>) {
    classes.push_back({"1e20 .. 1e30", magnitudes<Scalar>(300, 16, 19, 20, 30), eps, 1});
  } else {
    classes.push_back({"mean 1e15", normal<Scalar>(768, 40, 20, 1e15), eps, 1});
    classes.push_back({"1e150 .. 1e300", magnitudes<Scalar>(300, 16, 21, 150, 300), eps, 1});
    classes.push_back({"1e-300 .. 1e-150, eps 0", magnitudes<Scalar>(300, 16, 22, -300, -150), 0, 1e-200});
  }
  return classes;
}

template <class Norm>
ForwardErrors forward_errors_of(InputClass<typename Norm::Scalar> const& input, double beta_size, Accuracy accuracy) {
  using Scalar = typename Norm::Scalar;
  Vector<Scalar> const gamma = normal<Scalar>(input.x.rows(), 1, 101, 1, 0.2);
  // +- beta_size: a shift near 0 would ask for E_y where only nrm can be promised.
  Vector<Scalar> const beta = normal<Scalar>(input.x.rows(), 1, 102).array().sign() * Scalar(beta_size);
  Matrix<Scalar> const y = Norm::forward(input.x, gamma, beta, input.eps, accuracy);
  return forward_errors(y, input.x, gamma, beta, input.eps, Norm::subtracts_mean);
}

template <class Norm>
BackwardErrors backward_errors_of(InputClass<typename Norm::Scalar> const& input, Accuracy accuracy) {
  using Scalar = typename Norm::Scalar;
  Vector<Scalar> const gamma = normal<Scalar>(input.x.rows(), 1, 101, 1, 0.2);
  Matrix<Scalar> const dy = normal<Scalar>(input.x.rows(), input.x.cols(), 103, 0, input.dy_size);
  auto const ours = gradients<Norm>(dy, input.x, gamma, input.eps, accuracy);
  return backward_errors(ours, dy, input.x, gamma, input.eps, Norm::subtracts_mean);
}

}  // namespace

TEMPLATE_TEST_CASE("norms: accurate mode is within tier 1 on every class of input", "", FOLDNORM_ALL_NORMS) {
  for (auto const& input : input_classes<typename TestType::Scalar>()) {
    for (double beta_size : {0.0, 0.1}) {
      INFO(input.name << ", beta " << beta_size);
      CHECK(forward_errors_of<TestType>(input, beta_size, Accuracy::accurate).y <= tier_1);
    }
    INFO(input.name);
    BackwardErrors const errors = backward_errors_of<TestType>(input, Accuracy::accurate);
    CHECK(errors.dx <= tier_1);
    CHECK(errors.dgamma <= tier_1);
    CHECK(errors.dbeta <= tier_1);
  }
}

TEMPLATE_TEST_CASE("norms: fast mode is within tier 2 on every class of input", "", FOLDNORM_ALL_NORMS) {
  double const u = double(unit_roundoff<typename TestType::Scalar>);
  for (auto const& input : input_classes<typename TestType::Scalar>()) {
    INFO(input.name);
    CHECK(forward_errors_of<TestType>(input, 0, Accuracy::fast).nrm <= tier_2_nrm * u);
    ForwardErrors const errors = forward_errors_of<TestType>(input, 0.1, Accuracy::fast);
    CHECK(errors.y <= tier_2);
    CHECK(errors.nrm <= tier_2_nrm * u);
    BackwardErrors const gradients = backward_errors_of<TestType>(input, Accuracy::fast);
    CHECK(gradients.dx <= tier_2);
    CHECK(gradients.dgamma <= tier_2);
    CHECK(gradients.dbeta <= tier_2);
  }
}

TEST_CASE("layer_norm: the one-pass variance in float loses a sample with mean 1e3, the library does not") {
  Matrix<float> const x = normal<float>(768, 8, 31, 1e3);
  Vector<float> const gamma = Vector<float>::Ones(768), beta = Vector<float>::Zero(768);
  Matrix<float> naive(x.rows(), x.cols());
  for (Index j = 0; j < x.cols(); ++j) {
    float const mean = x.col(j).mean();
    float const variance = x.col(j).squaredNorm() / 768 - mean * mean;
    naive.col(j) = (x.col(j).array() - mean) / std::sqrt(variance + 1e-5f);
  }
  CHECK_FALSE(forward_errors(naive, x, gamma, beta, 1e-5f, true).nrm <= 1e-2);
  Matrix<float> const ours = foldnorm::layer_norm(x, gamma, beta, 1e-5f);
  CHECK(forward_errors(ours, x, gamma, beta, 1e-5f, true).nrm <= tier_2_nrm * 0x1p-24);
}

TEST_CASE("layer_norm: one pass around a K far from the mean loses digits in float, the library looks again") {
  Matrix<float> const x = far_first_pack<float>(768, 8, 32);
  Vector<float> const gamma = Vector<float>::Ones(768), beta = Vector<float>::Zero(768);
  Matrix<float> one_pass(x.rows(), x.cols());
  for (Index j = 0; j < x.cols(); ++j) {
    float const k = x(0, j);
    float const d = (x.col(j).array() - k).mean();
    float const variance = (x.col(j).array() - k).square().mean() - d * d;
    one_pass.col(j) = ((x.col(j).array() - k) - d) / std::sqrt(variance + 1e-5f);
  }
  CHECK_FALSE(forward_errors(one_pass, x, gamma, beta, 1e-5f, true).nrm <= tier_2_nrm * 0x1p-24);
  Matrix<float> const ours = foldnorm::layer_norm(x, gamma, beta, 1e-5f);
  CHECK(forward_errors(ours, x, gamma, beta, 1e-5f, true).nrm <= tier_2_nrm * 0x1p-24);
}

// In the mean square one rounding of N(0, 1) values is 2^-24 / sqrt(3) * sqrt(E 4^floor(log2|y|)) = 2.5e-8; an element
// takes two of its own (three without multiply-add). All elements of a sample share the error of rstd, which is found
// in double and rounded once, up to 2^-24 / sqrt(3) = 3.4e-8, from float sums whose 32 chains leave some 1e-8: sqrt(3
// * 2.5^2 + 3.4^2 + 1) = 5.6, and 7% for how rstd scatters over 100 samples.
TEST_CASE("layer_norm: the mean square error on N(0, 1) data is that of its few roundings") {
  Matrix<float> const x = normal<float>(768, 100, 33);
  Vector<float> const gamma = Vector<float>::Ones(768), beta = Vector<float>::Zero(768);
  Matrix<float> const y = foldnorm::layer_norm(x, gamma, beta, 1e-5f);
  Matrix<Wide> const error = y.cast<Wide>() - WideNorm<float>(x, 1e-5f, true).xhat;
  CHECK(double(std::sqrt(error.squaredNorm() / Wide(error.size()))) <= 6e-8);
}

// x, gamma and dy each of its own size, as long as dx fits the type.
TEMPLATE_TEST_CASE("norms: outputs and gradients of any size are within the tiers", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Index const n = 40, m = 20;
  Matrix<Scalar> const x = normal<Scalar>(n, m, 71), dy = normal<Scalar>(n, m, 72);
  Vector<Scalar> const gamma = normal<Scalar>(n, 1, 73), beta = normal<Scalar>(n, 1, 74).array().sign() * Scalar(0.1);
  for (double x_size : {1e-10, 1.0, 1e10}) {
    for (double gamma_size : {1e-30, 1e-10, 1.0, 1e10, 1e30}) {
      Matrix<Scalar> const sized_x = x * Scalar(x_size);
      Vector<Scalar> const sized_gamma = gamma * Scalar(gamma_size), sized_beta = beta * Scalar(gamma_size);
      for (auto [accuracy, tier] : tiers) {
        INFO("x " << x_size << ", gamma " << gamma_size << ", accurate " << (accuracy == Accuracy::accurate));
        auto const y = TestType::forward(sized_x, sized_gamma, sized_beta, Scalar(0), accuracy);
        CHECK(forward_errors(y, sized_x, sized_gamma, sized_beta, Scalar(0), TestType::subtracts_mean).y <= tier);
        for (double dy_size : {1e-38, 1e-25, 1e-15, 1.0, 1e10, 1e25}) {
          if (gamma_size * dy_size / x_size > 1e35) continue;
          INFO("dy " << dy_size);
          Matrix<Scalar> const sized_dy = dy * Scalar(dy_size);
          auto const ours = gradients<TestType>(sized_dy, sized_x, sized_gamma, Scalar(0), accuracy);
          BackwardErrors const errors =
              backward_errors(ours, sized_dy, sized_x, sized_gamma, Scalar(0), TestType::subtracts_mean);
          CHECK(errors.dx <= tier);
          CHECK(errors.dgamma <= tier);
          CHECK(errors.dbeta <= tier);
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("norms: an eps of any size beside samples of any size is within the tiers", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Vector<Scalar> const gamma = normal<Scalar>(48, 1, 75, 1, 0.2);
  Vector<Scalar> const beta = normal<Scalar>(48, 1, 76).array().sign() * Scalar(0.1);
  for (double size : {1e-30, 1e-15, 1.0, 1e15, 1e30}) {
    Matrix<Scalar> const x = normal<Scalar>(48, 9, 77, 0, size);
    for (Scalar eps : {smallest_subnormal<Scalar>, std::numeric_limits<Scalar>::min(), Scalar(1e-20), Scalar(1),
                       Scalar(1e20), largest<Scalar>}) {
      INFO("x " << size << ", eps " << eps);
      for (auto [accuracy, tier] : tiers) {
        auto const y = TestType::forward(x, gamma, beta, eps, accuracy);
        CHECK(forward_errors(y, x, gamma, beta, eps, TestType::subtracts_mean).y <= tier);
      }
    }
  }
}

TEMPLATE_TEST_CASE("norms: a million features lose nothing by their number", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (double mean : {0.0, 1e3, 1e6}) {
    InputClass<Scalar> const input{"", normal<Scalar>(1'000'003, 1, 41, mean), Scalar(1e-5), 1};
    INFO("mean " << mean);
    CHECK(forward_errors_of<TestType>(input, 0.1, Accuracy::accurate).y <= tier_1);
    CHECK(forward_errors_of<TestType>(input, 0.1, Accuracy::fast).nrm <= tier_2_nrm * double(unit_roundoff<Scalar>));
    CHECK(backward_errors_of<TestType>(input, Accuracy::accurate).dx <= tier_1);
    CHECK(backward_errors_of<TestType>(input, Accuracy::fast).dx <= tier_2);
  }
}

// All terms of one sign, the worst for a plain sum: its error grows to some sqrt(20000) u.
TEMPLATE_TEST_CASE("norms: dgamma and dbeta over 20000 samples stay within the tiers", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> x = normal<Scalar>(3, 20000, 51);
  x.row(0).array() -= 10;
  x.row(1).array() += 5;
  x.row(2).array() += 20;
  Matrix<Scalar> const dy = uniform<Scalar>(3, 20000, 52, 1, 2);
  Vector<Scalar> const ones = Vector<Scalar>::Ones(3);
  for (auto [accuracy, tier] : tiers) {
    auto const ours = gradients<TestType>(dy, x, ones, Scalar(1e-5), accuracy);
    BackwardErrors const errors = backward_errors(ours, dy, x, ones, Scalar(1e-5), TestType::subtracts_mean);
    CHECK(errors.dgamma <= tier);
    CHECK(errors.dbeta <= tier);
  }
}

// Doubles have no wider type to fall back on, and the fast mode does not look for one: there the product itself must
// fit, and the headers say so.
TEMPLATE_TEST_CASE("norms: in accurate float a huge gain neither overflows before beta nor magnifies an underflow", "",
                   laws::LayerNormOf<float>, laws::RMSNormOf<float>) {
  Matrix<float> x(3, 1);
  x << 2, -1, -1;  // xhat = 1.41, -0.71, -0.71 in both norms
  Vector<float> const gamma = Vector<float>::Constant(3, 0.9f * largest<float>), beta = -gamma;
  Matrix<float> const y = TestType::forward(x, gamma, beta, 0.0f, Accuracy::accurate);
  CHECK(std::abs(y(0) / (0.9f * largest<float>)-(std::sqrt(2.0) - 1)) <= tier_1 * unit_roundoff<float>);

  Matrix<float> const tiny = normal<float>(64, 4, 61, 0, 1e-43);
  Vector<float> const gain = Vector<float>::Constant(64, 1e9f), zero = Vector<float>::Zero(64);
  Matrix<float> const out = TestType::forward(tiny, gain, zero, 1e-5f, Accuracy::accurate);
  CHECK(forward_errors(out, tiny, gain, zero, 1e-5f, TestType::subtracts_mean).y <= tier_1);
}

// Not run by default: test_kernels "[table]" prints the figures of docs/numerics.md.
TEMPLATE_TEST_CASE("norms: table of measured errors", "[.][table]", FOLDNORM_ALL_NORMS) {
  std::cout << (TestType::subtracts_mean ? "LayerNorm " : "RMSNorm ")
            << (std::is_same_v<typename TestType::Scalar, float> ? "float" : "double")
            << "\n  input | fast nrm | fast E_y | accurate E_y | E_dx | E_dgamma | E_dbeta\n"
            << std::setprecision(2);
  for (auto const& input : input_classes<typename TestType::Scalar>()) {
    ForwardErrors const fast = forward_errors_of<TestType>(input, 0, Accuracy::fast);
    ForwardErrors const accurate = forward_errors_of<TestType>(input, 0, Accuracy::accurate);
    BackwardErrors const backward = backward_errors_of<TestType>(input, Accuracy::accurate);
    std::cout << "  " << input.name << " | " << fast.nrm << " | " << fast.y << " | " << accurate.y << " | "
              << backward.dx << " | " << backward.dgamma << " | " << backward.dbeta << "\n";
  }
}
