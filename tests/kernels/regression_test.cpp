// SPDX-License-Identifier: MIT
// Public bug reports of other libraries, each by its number and its input. NAME#N is
// https://github.com/OWNER/NAME/issues/N, with the owners pytorch, microsoft (onnxruntime), ml-explore (mlx), tracel-ai
// (burn), tenstorrent (tt-metal), apple (coremltools), google (flax), patrick-kidger (equinox), tensorflow and onnx.
// Those about files are in tests/onnx/hostile_models_test.cpp.
#include <cmath>
#include <limits>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/reference.hpp"
#include "laws/tiers.hpp"

namespace {

using namespace laws;

using Eigen::bfloat16;
using Eigen::half;

// beta = 0.1, so that E_y judges every element.
template <class Norm, class Scalar = typename Norm::Scalar>
void check_within_tiers(Matrix<Scalar> const& x, foldnorm::Compute<Scalar> eps) {
  Vector<Scalar> const gamma = Vector<Scalar>::Ones(x.rows());
  Vector<Scalar> const beta = Vector<Scalar>::Constant(x.rows(), Scalar(0.1));
  Matrix<Scalar> const fast = Norm::forward(x, gamma, beta, eps);
  Matrix<Scalar> const accurate = Norm::forward(x, gamma, beta, eps, Accuracy::accurate);
  ForwardErrors const fast_errors = forward_errors(fast, x, gamma, beta, eps, Norm::subtracts_mean);
  CHECK(fast_errors.y <= tier_2);
  CHECK(fast_errors.nrm <= tier_2_nrm * 0x1p-24);
  CHECK(forward_errors(accurate, x, gamma, beta, eps, Norm::subtracts_mean).y <= tier_1);
}

template <class X>
concept can_be_normalized = requires(X const& x, Eigen::Matrix<typename X::Scalar, -1, -1>& y) {
  foldnorm::layer_norm(x, none, none, 1e-5F, y);
};

}  // namespace

TEST_CASE("pytorch#40302: 32768 values of mean 100 and deviation 0.01 keep their variance") {
  check_within_tiers<LayerNormOf<float>>(normal<float>(32768, 1, 501, 100, 0.01), 1e-5f);
}

TEST_CASE("pytorch#51102: four values near 2000 have output variance 1, not 3e4") {
  Matrix<float> const x = normal<float>(4, 200, 502, 2000);
  check_within_tiers<LayerNormOf<float>>(x, 1e-5f);
  Matrix<float> const y = foldnorm::layer_norm(x, none, none, 1e-5f);
  CHECK(y.colwise().squaredNorm().maxCoeff() <= 4.0001f);  // 4 var / (var + eps), and rounding
}

TEST_CASE("pytorch#41527, coremltools#2822: a zero sample with a tiny eps gives 0, not NaN") {
  Matrix<float> const zeros = Matrix<float>::Zero(16, 2);
  for (float eps : {1e-12f, 1e-40f, 0.0f}) {
    CHECK(same_values(foldnorm::layer_norm(zeros, none, none, eps), zeros));
    CHECK(same_values(foldnorm::rms_norm(zeros, none, none, eps), zeros));
  }
}

TEST_CASE("pytorch#133085, #134106: squares beyond the storage type's range do not overflow the norm") {
  check_within_tiers<RMSNormOf<float>>(normal<float>(64, 4, 503, 0, 1e25), 1e-5f);
  check_within_tiers<RMSNormOf<double>>(normal<double>(64, 4, 504, 0, 1e200), 1e-5);
}

TEMPLATE_TEST_CASE("pytorch#41527: a zero sample of half with eps 1e-12, which half cannot hold, gives 0, not NaN", "",
                   LayerNormOf<half>, RMSNormOf<half>) {
  using T = typename TestType::Scalar;
  for (Index n : {3, 16, 768}) {
    Matrix<T> const zeros = Matrix<T>::Zero(n, 9);
    Vector<T> const ones = Vector<T>::Ones(n), no_shift = Vector<T>::Zero(n);
    CHECK(same_values(TestType::forward(zeros, ones, no_shift, 1e-12f), zeros));
    check_within_tiers<TestType>(normal<T>(n, 9, 512, 0, 1e-6), 1e-12f);  // and eps counts beside small values
  }
}

TEST_CASE("pytorch#66707: half and bfloat16 norms add up in float, where 1000 values of mean 100 fit") {
  check_within_tiers<LayerNormOf<half>>(normal<half>(1000, 8, 513, 100), 1e-5f);
  check_within_tiers<LayerNormOf<bfloat16>>(normal<bfloat16>(1000, 8, 514, 100), 1e-5f);
}

TEST_CASE("pytorch#133085, #134106: squares of half beyond 65504 do not overflow an RMSNorm") {
  for (double size : {300.0, 7e3, 2e4}) check_within_tiers<RMSNormOf<half>>(normal<half>(64, 8, 515, 0, size), 1e-5f);
}

TEST_CASE("pytorch#173039: an eps of float's 1.2e-7 is not taken for half's 9.8e-4") {
  check_within_tiers<RMSNormOf<half>>(normal<half>(768, 4, 516, 0, 1e-3), std::numeric_limits<float>::epsilon());
  check_within_tiers<RMSNormOf<bfloat16>>(normal<bfloat16>(768, 4, 517, 0, 1e-3),
                                          std::numeric_limits<float>::epsilon());
}

TEST_CASE("onnxruntime#29034: an RMSNorm of a residual sum in half is right beyond |x| = 7600, not zero") {
  for (float size : {5e3f, 7700.0f, 3e4f}) {
    INFO("size " << size);
    Index const n = 768;
    Matrix<half> const x = uniform<half>(n, 5, 518, -double(size), double(size)), r = normal<half>(n, 5, 519);
    Vector<half> const gamma = Vector<half>::Ones(n), beta = Vector<half>::Constant(n, half(0.125f));
    Matrix<half> s(n, 5), y(n, 5);
    foldnorm::add_rms_norm(x, 1.0f, r, gamma, beta, 1e-5f, s, y);
    CHECK(forward_errors(y, s, gamma, beta, 1e-5f, false).y <= tier_2);
    CHECK((y.cast<float>().array() - 0.125f).abs().maxCoeff() > 1.0f);
  }
}

TEST_CASE("tt-metal#45231: a residual sum is added in the storage's precision, before its mean is taken away") {
  Matrix<float> const x = normal<float>(64, 5, 520, 1000), r = normal<float>(64, 5, 521, 0, 1e-3);
  Vector<float> const gamma = Vector<float>::Ones(64), beta = Vector<float>::Constant(64, 0.1f);
  Matrix<float> s(64, 5), y(64, 5);
  foldnorm::add_layer_norm(x, 1.0f, r, gamma, beta, 1e-5f, s, y);
  CHECK(same_bits(s, Matrix<float>(x + r)));
  CHECK(forward_errors(y, s, gamma, beta, 1e-5f, true).y <= tier_2);
}

TEST_CASE("pytorch#108956: one feature gives beta") {
  Matrix<float> const x = normal<float>(1, 6, 505, 3);
  Vector<float> const gamma = Vector<float>::Constant(1, 2.5f), beta = Vector<float>::Constant(1, 0.7f);
  CHECK(same_bits(foldnorm::layer_norm(x, gamma, beta, 1e-5f), Matrix<float>::Constant(1, 6, 0.7f)));
}

TEST_CASE("pytorch#98075: one feature in double with a weight beyond 1e10 gives beta still") {
  Matrix<double> const x = normal<double>(1, 6, 506, 1e3);
  Vector<double> const gamma = Vector<double>::Constant(1, 1.2345678e12), beta = Vector<double>::Constant(1, 0.1);
  CHECK(same_bits(foldnorm::layer_norm(x, gamma, beta, 1e-5), Matrix<double>::Constant(1, 6, 0.1)));
}

TEST_CASE("onnxruntime#28463, #21935: 40000..40003 and a constant 1234 are finite and right") {
  Matrix<float> x(4, 2);
  x << 40000, 1234, 40001, 1234, 40002, 1234, 40003, 1234;
  check_within_tiers<LayerNormOf<float>>(x, 1e-5f);
  CHECK(same_values(foldnorm::layer_norm(x, none, none, 1e-5f).col(1), Vector<float>::Zero(4)));
}

TEST_CASE("onnxruntime#17692: a variance of 246419 is held") {
  check_within_tiers<LayerNormOf<float>>(normal<float>(768, 4, 507, 0, std::sqrt(246419.0)), 1e-5f);
  check_within_tiers<LayerNormOf<half>>(normal<half>(768, 4, 507, 0, std::sqrt(246419.0)), 1e-5f);
}

TEST_CASE("mlx#2238: 16 values near 1449.5 are not NaN") {
  check_within_tiers<LayerNormOf<float>>(normal<float>(16, 20, 508, 1449.5, 0.01), 1e-5f);
}

TEST_CASE("burn#5607: 16 values mean + i 1e-3 are right at every mean") {
  for (float mean : {0.0f, 100.0f, 1000.0f, 10000.0f}) {
    INFO("mean " << mean);
    Matrix<float> x(16, 1);
    for (Index i = 0; i < 16; ++i) x(i, 0) = mean + float(i) * 1e-3f;
    check_within_tiers<LayerNormOf<float>>(x, 1e-5f);
  }
}

TEST_CASE("coremltools#2821: a rescaled sample rescales its eps as well") {
  // eps beside the variance at a scale that only a rescue can hold: forgetting either factor shows at once
  Matrix<double> const x = normal<double>(32, 3, 509, 0, 1e-160);
  check_within_tiers<LayerNormOf<double>>(x, 1e-320);
  check_within_tiers<RMSNormOf<double>>(x, 1e-320);
  Matrix<double> const large = normal<double>(32, 3, 510, 0, 1e153);
  check_within_tiers<LayerNormOf<double>>(large, 1e306);
  check_within_tiers<RMSNormOf<double>>(large, 1e306);
}

TEST_CASE("flax#1491, equinox#314: no negative variance, whatever the mean") {
  for (double mean : {1e2, 1e4, 1e6, 1e8}) {
    INFO("mean " << mean);
    check_within_tiers<LayerNormOf<float>>(normal<float>(256, 8, 511, mean, 1e-3 * mean), 0.0f);
  }
}

TEST_CASE("pytorch#78444: no features at all are no error, and integers are no norm's input, at compile time") {
  static_assert(can_be_normalized<Matrix<float>>);
  static_assert(!can_be_normalized<Matrix<int>>);
  for (Index const columns : {0, 3}) {
    Matrix<float> const nothing(0, columns);
    Vector<float> const none_of_them(0);
    CHECK(foldnorm::layer_norm(nothing, none_of_them, none_of_them, 1e-5f).cols() == columns);
    Gradients<float> const g = gradients<LayerNormOf<float>>(nothing, nothing, none_of_them, 1e-5f);
    CHECK((g.dx.cols() == columns && g.dgamma.size() == 0));
  }
}

TEST_CASE("tensorflow#46366, #61287: empty input, and eps = 0 with a zero sample") {
  CHECK(foldnorm::layer_norm(Matrix<float>(0, 3), none, none, 0.0f).size() == 0);
  CHECK(foldnorm::layer_norm(Matrix<float>(3, 0), none, none, 0.0f).size() == 0);
  CHECK(same_values(foldnorm::layer_norm(Matrix<float>(Matrix<float>::Zero(3, 1)), none, none, 0.0f),
                    Vector<float>::Zero(3)));
}
