// SPDX-License-Identifier: MIT
// The accuracy tiers of docs/numerics.md over its classes of input, against long double.
#include <cmath>
#include <iomanip>
#include <iostream>
#include <string>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/reference.hpp"

namespace {

using namespace laws;

// The tiers as the specification promises them; no figure here is fitted to what the library reaches.
constexpr double tier_1 = 8;     // every measure, accurate mode; double storage in both modes
constexpr double tier_2_y = 64;  // E_y, fast mode
constexpr double tier_2_nrm = 1e-6;

template <class Scalar>
struct InputClass {
  std::string name;
  Matrix<Scalar> x;
  Scalar eps;
  double dy_size;  // gradients of the sample's own size where 1 / deviation would take dx out of range
};

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
  Vector<Scalar> const beta = normal<Scalar>(input.x.rows(), 1, 102, 0, beta_size);
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
  bool const is_double = std::is_same_v<typename TestType::Scalar, double>;
  for (auto const& input : input_classes<typename TestType::Scalar>()) {
    for (double beta_size : {0.0, 0.1}) {
      INFO(input.name << ", beta " << beta_size);
      ForwardErrors const errors = forward_errors_of<TestType>(input, beta_size, Accuracy::fast);
      CHECK(errors.y <= (is_double ? tier_1 : tier_2_y));
      CHECK(errors.nrm <= tier_2_nrm);
    }
    INFO(input.name);
    CHECK(backward_errors_of<TestType>(input, Accuracy::fast).dx <= tier_1);
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
  CHECK(forward_errors(ours, x, gamma, beta, 1e-5f, true).nrm <= tier_2_nrm);
}

TEMPLATE_TEST_CASE("norms: a million features lose nothing by their number", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (double mean : {0.0, 1e3, 1e6}) {
    InputClass<Scalar> const input{"", normal<Scalar>(1'000'003, 1, 41, mean), Scalar(1e-5), 1};
    INFO("mean " << mean);
    CHECK(forward_errors_of<TestType>(input, 0.1, Accuracy::accurate).y <= tier_1);
    CHECK(forward_errors_of<TestType>(input, 0.1, Accuracy::fast).nrm <= tier_2_nrm);
    CHECK(backward_errors_of<TestType>(input, Accuracy::accurate).dx <= tier_1);
  }
}

TEMPLATE_TEST_CASE("norms: every width from 1 to 300 is within tier 1", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index n = 1; n <= 300; ++n) {
    InputClass<Scalar> const input{"", normal<Scalar>(n, 3, unsigned(1000 + n), 5), Scalar(1e-5), 1};
    INFO("n " << n << ", seed " << 1000 + n);
    CHECK(forward_errors_of<TestType>(input, 0.1, Accuracy::accurate).y <= tier_1);
    CHECK(forward_errors_of<TestType>(input, 0.1, Accuracy::fast).y <= tier_2_y);
    CHECK(backward_errors_of<TestType>(input, Accuracy::fast).dx <= tier_1);
  }
}

// All terms of one sign, the worst for a plain sum: its error grows to some sqrt(20000) u.
TEMPLATE_TEST_CASE("norms: dgamma and dbeta over 20000 samples stay within tier 1", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> x = normal<Scalar>(3, 20000, 51);
  x.row(0).array() -= 10;
  x.row(1).array() += 5;
  x.row(2).array() += 20;
  Matrix<Scalar> const dy = uniform<Scalar>(3, 20000, 52, 1, 2);
  Vector<Scalar> const ones = Vector<Scalar>::Ones(3);
  auto const ours = gradients<TestType>(dy, x, ones, Scalar(1e-5));
  BackwardErrors const errors = backward_errors(ours, dy, x, ones, Scalar(1e-5), TestType::subtracts_mean);
  CHECK(errors.dgamma <= tier_1);
  CHECK(errors.dbeta <= tier_1);
}

// Doubles have no wider type to fall back on: there the product itself must fit, and the header says so.
TEMPLATE_TEST_CASE("norms: in float a huge gain neither overflows before beta nor magnifies an underflow", "",
                   laws::LayerNormOf<float>, laws::RMSNormOf<float>) {
  Matrix<float> x(3, 1);
  x << 2, -1, -1;  // xhat = 1.41, -0.71, -0.71 in both norms
  Vector<float> const gamma = Vector<float>::Constant(3, 0.9f * largest<float>), beta = -gamma;
  Matrix<float> const y = TestType::forward(x, gamma, beta, 0.0f);
  CHECK(std::abs(y(0) / (0.9f * largest<float>)-(std::sqrt(2.0) - 1)) <= tier_2_y * unit_roundoff<float>);

  Matrix<float> const tiny = normal<float>(64, 4, 61, 0, 1e-43);
  Vector<float> const gain = Vector<float>::Constant(64, 1e9f), zero = Vector<float>::Zero(64);
  Matrix<float> const out = TestType::forward(tiny, gain, zero, 1e-5f);
  CHECK(forward_errors(out, tiny, gain, zero, 1e-5f, TestType::subtracts_mean).y <= tier_2_y);
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
