// SPDX-License-Identifier: MIT
// Where a processor takes subnormal numbers for zero (FTZ and DAZ, which -ffast-math in some other unit of a program
// may switch on): docs/numerics.md, "Subnormal numbers as zero".
#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/reference.hpp"
#include "laws/tiers.hpp"

#if defined(__SSE2__)
#include <xmmintrin.h>

namespace {

using namespace laws;

// Both bits of the control word, for as long as this lives.
class FlushToZero {
 public:
  FlushToZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040U); }
  FlushToZero(FlushToZero const&) = delete;
  FlushToZero& operator=(FlushToZero const&) = delete;
  ~FlushToZero() { _mm_setcsr(before_); }

 private:
  unsigned before_;
};

template <class Norm>
Matrix<float> forward_flushed(Matrix<float> const& x, Vector<float> const& gamma, Vector<float> const& beta, float eps,
                              Accuracy accuracy) {
  FlushToZero const on;
  return Norm::forward(x, gamma, beta, eps, accuracy);
}
template <class Norm>
Gradients<float> gradients_flushed(Matrix<float> const& dy, Matrix<float> const& x, Vector<float> const& gamma,
                                   float eps, Accuracy accuracy) {
  FlushToZero const on;
  return gradients<Norm>(dy, x, gamma, eps, accuracy);
}

bool flushes() {
  FlushToZero const on;
  float volatile smallest_float = smallest_subnormal<float>;
  float volatile sum = smallest_float + smallest_float;  // stored before the control word is set back
  return sum == 0;
}

}  // namespace

TEMPLATE_TEST_CASE("subnormals as zero: ordinary, large and small samples keep the norms' bounds", "",
                   LayerNormOf<float>, RMSNormOf<float>) {
  REQUIRE(flushes());
  bool const subtracts_mean = TestType::subtracts_mean;
  for (Index const n : {3, 16, 100, 768}) {
    Vector<float> const gamma = normal<float>(n, 1, 701, 1, 0.2), beta = Vector<float>::Constant(n, 0.1f);
    Matrix<float> const dy = normal<float>(n, 5, 702);
    for (Matrix<float> const& x : {normal<float>(n, 5, 703), normal<float>(n, 5, 704, 1e4),
                                   magnitudes<float>(n, 5, 705, -10, 30), outliers<float>(n, 5, 706, 1e6f)}) {
      for (auto const& [accuracy, bound] : tiers) {
        CAPTURE(n, bound);
        Matrix<float> const y = forward_flushed<TestType>(x, gamma, beta, 1e-5f, accuracy);
        CHECK(forward_errors(y, x, gamma, beta, 1e-5f, subtracts_mean).y <= bound);
        // Samples of 1e30 have gradients of 1e-30: some of their terms are flushed, by less than 2^-126 each.
        auto const g = gradients_flushed<TestType>(dy, x, gamma, 1e-5f, accuracy);
        auto const flushed_terms = static_cast<double>(n) * 0x1p-126;
        auto const exact = gradients<TestType>(dy, x, gamma, 1e-5f, Accuracy::accurate);
        CHECK(((g.dx - exact.dx).array().abs().template cast<double>() <=
               2 * bound * 0x1p-24 * double(exact.dx.cwiseAbs().maxCoeff()) + flushed_terms)
                  .all());
      }
    }
  }
}

TEMPLATE_TEST_CASE("subnormals as zero: a sample, and an eps, of subnormal numbers are those of zeros", "",
                   LayerNormOf<float>, RMSNormOf<float>) {
  for (Index const n : {3, 16, 768}) {
    Matrix<float> const x = uniform<float>(n, 5, 707, -1e-39, 1e-39), zeros = Matrix<float>::Zero(n, 5);
    Vector<float> const gamma = normal<float>(n, 1, 708), beta = normal<float>(n, 1, 709);
    for (float const eps : {0.0f, 1e-40f, 1e-5f}) {
      for (auto const& [accuracy, bound] : tiers) {
        CHECK(same_values(forward_flushed<TestType>(x, gamma, beta, eps, accuracy),
                          TestType::forward(zeros, gamma, beta, eps, accuracy)));
      }
    }
  }
}

TEST_CASE("subnormals as zero: contracts bit for bit hold") {
  Matrix<float> const x = normal<float>(100, 6, 710), same = Matrix<float>::Constant(100, 6, 1e-3f / 3);
  Vector<float> const gamma = normal<float>(100, 1, 711), beta = normal<float>(100, 1, 712);
  FlushToZero const on;
  Matrix<float> in_place = x;
  foldnorm::layer_norm(in_place, gamma, beta, 1e-5f, in_place);
  CHECK(same_bits(in_place, foldnorm::layer_norm(x, gamma, beta, 1e-5f)));
  CHECK(same_values(foldnorm::layer_norm(same, gamma, beta, 1e-5f), beta.replicate(1, 6)));
}

#else
TEST_CASE("subnormals as zero: skipped, this processor's control word is not known here") { WARN("skipped"); }
#endif
