// SPDX-License-Identifier: MIT
// The norms on every kind of memory an Eigen object can stand for: the same bits as on a plain copy, and no other
// element touched.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"

namespace {

using namespace laws;

template <class Norm, Index features = 45>
struct NormCase {
  using Scalar = typename Norm::Scalar;
  static constexpr Index n = features, m = 6;
  Matrix<Scalar> x = normal<Scalar>(n, m, 301, 2), dy = normal<Scalar>(n, m, 302);
  Vector<Scalar> gamma = normal<Scalar>(n, 1, 303, 1, 0.3), beta = normal<Scalar>(n, 1, 304);
  Scalar eps = Scalar(1e-5);
  Matrix<Scalar> y = Norm::forward(x, gamma, beta, eps);
};

// Counts how often its coefficients are read.
struct Counting {
  long* count;
  template <class Scalar>
  Scalar operator()(Scalar value) const {
    ++*count;
    return value;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("norms: in place gives the bits of out of place", "", FOLDNORM_ALL_NORMS) {
  NormCase<TestType> s;
  using Scalar = typename TestType::Scalar;
  for (Accuracy accuracy : {Accuracy::fast, Accuracy::accurate}) {
    Matrix<Scalar> const y = TestType::forward(s.x, s.gamma, s.beta, s.eps, accuracy);
    Matrix<Scalar> in_place = s.x;
    NormStatistics<Scalar> statistics;
    TestType::forward(in_place, s.gamma, s.beta, s.eps, in_place, statistics, accuracy);
    CHECK(same_bits(in_place, y));

    Matrix<Scalar> dx(s.n, s.m), over_dy = s.dy, over_x = s.x;
    Vector<Scalar> dgamma(s.n), dgamma_over_dy(s.n), dgamma_over_x(s.n);
    TestType::backward(s.dy, s.x, s.gamma, statistics, dx, dgamma, none);
    TestType::backward(over_dy, s.x, s.gamma, statistics, over_dy, dgamma_over_dy, none);
    TestType::backward(s.dy, over_x, s.gamma, statistics, over_x, dgamma_over_x, none);
    CHECK(same_bits(over_dy, dx));
    CHECK(same_bits(over_x, dx));
    CHECK(same_bits(dgamma_over_dy, dgamma));
    CHECK(same_bits(dgamma_over_x, dgamma));
  }
}

TEMPLATE_TEST_CASE("norms: partial overlap throws before anything is written", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> memory = normal<Scalar>(20, 8, 305);
  Matrix<Scalar> const before = memory;
  auto const eps = Scalar(1e-5);
  CHECK_THROWS_AS(TestType::forward(memory.leftCols(5), none, none, eps, memory.rightCols(5)), std::invalid_argument);
  CHECK_THROWS_AS(TestType::forward(memory.topRows(12), none, none, eps, memory.bottomRows(12)), std::invalid_argument);
  CHECK_THROWS_AS(TestType::forward(memory.middleCols(1, 2), memory.col(4), none, eps, memory.rightCols(4).leftCols(2)),
                  std::invalid_argument);
  NormStatistics<Scalar> statistics;
  Matrix<Scalar> y(20, 5);
  TestType::forward(memory.leftCols(5), none, none, eps, y, statistics);
  CHECK_THROWS_AS(TestType::backward(memory.leftCols(5), y, none, statistics, memory.rightCols(5), none, none),
                  std::invalid_argument);
  CHECK_THROWS_AS(TestType::backward(y, memory.leftCols(5), none, statistics, memory.rightCols(5), none, none),
                  std::invalid_argument);
  CHECK_THROWS_AS(TestType::backward(y, y, none, statistics, memory.leftCols(5), memory.col(2), none),
                  std::invalid_argument);
  CHECK(same_bits(memory, before));
}

TEMPLATE_TEST_CASE("norms: two row ranges of one matrix do not overlap", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> memory = normal<Scalar>(20, 8, 306);
  Matrix<Scalar> const expected = TestType::forward(memory.topRows(10), none, none, Scalar(1e-5));
  TestType::forward(memory.topRows(10), none, none, Scalar(1e-5), memory.bottomRows(10));
  CHECK(same_bits(Matrix<Scalar>(memory.bottomRows(10)), expected));
}

TEMPLATE_TEST_CASE("norms: columns that run backwards overlap as columns that run forwards do", "",
                   FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  using Backwards = Eigen::Map<Matrix<Scalar>, 0, Eigen::OuterStride<>>;
  Matrix<Scalar> m = normal<Scalar>(6, 5, 305);
  Matrix<Scalar> const before = m;
  Backwards const x(m.data() + 24, 6, 3, Eigen::OuterStride<>(-6));
  Backwards y(m.data() + 18, 6, 3, Eigen::OuterStride<>(-6));
  CHECK_THROWS_AS(TestType::forward(x, none, none, Scalar(1e-5), y), std::invalid_argument);
  Backwards all(m.data() + 24, 6, 5, Eigen::OuterStride<>(-6));
  Matrix<Scalar> const other = normal<Scalar>(6, 5, 306);
  CHECK_THROWS_AS(TestType::forward(other, m.col(3), none, Scalar(1e-5), all), std::invalid_argument);
  CHECK(same_bits(m, before));
}

TEMPLATE_TEST_CASE("norms: one column shown many times by an outer stride of 0 is refused", "",
                   laws::LayerNormOf<float>, laws::RMSNormOf<float>) {
  Vector<float> const column = normal<float>(6, 1, 307);
  Eigen::Map<Matrix<float> const, 0, Eigen::OuterStride<>> const x(column.data(), 6, 5, Eigen::OuterStride<>(0));
  Matrix<float> y(6, 5);
  CHECK_THROWS_AS(TestType::forward(x, none, none, 1e-5F, y), std::invalid_argument);
  TestType::forward(x.leftCols(1), none, none, 1e-5F, y.leftCols(1));  // one column is no repetition
  Matrix<float> const other = normal<float>(6, 5, 308);
  NormStatistics<float> statistics;
  CHECK_THROWS_WITH(TestType::forward(other, x, other, 1e-5F, y), Catch::Contains("gamma: an outer stride of 0"));
  CHECK_THROWS_WITH(TestType::forward(other, other, x, 1e-5F, y), Catch::Contains("beta: an outer stride of 0"));
  TestType::forward(other, none, none, 1e-5F, y, statistics);
  CHECK_THROWS_WITH(TestType::backward(other, other, x, statistics, y, none, none),
                    Catch::Contains("gamma: an outer stride of 0"));
}

TEMPLATE_TEST_CASE("norms: dgamma and dbeta must lie apart, from each other and from all that is read or written", "",
                   FOLDNORM_ALL_NORMS) {
  NormCase<TestType> const s;
  using Scalar = typename TestType::Scalar;
  NormStatistics<Scalar> statistics;
  Matrix<Scalar> y(s.n, s.m);
  TestType::forward(s.x, s.gamma, s.beta, s.eps, y, statistics);
  Vector<Scalar> both = Vector<Scalar>::Zero(2 * s.n - 1);
  CHECK_THROWS_AS(TestType::backward(s.dy, s.x, s.gamma, statistics, y, both.head(s.n), both.tail(s.n)),
                  std::invalid_argument);
  CHECK(both.isZero(0));
  // What is written per feature and column, beside x's (dy's, dx's, gamma's) columns but shifted by one of them.
  Matrix<Scalar> memory = normal<Scalar>(s.n, s.m + 1, 308), dx(s.n, s.m), free(s.n, s.m);
  Matrix<Scalar> const before = memory;
  auto const view = memory.leftCols(s.m);
  auto shifted = memory.rightCols(s.m);
  for (bool is_dgamma : {true, false}) {
    auto const run = [&](auto const& dy, auto const& x, auto&& to) {
      if (is_dgamma) {
        TestType::backward(dy, x, s.gamma, statistics, to, shifted, free);
      } else {
        TestType::backward(dy, x, s.gamma, statistics, to, free, shifted);
      }
    };
    CHECK_THROWS_AS(run(view, s.x, dx), std::invalid_argument);
    CHECK_THROWS_AS(run(s.dy, view, dx), std::invalid_argument);
    CHECK_THROWS_AS(run(s.dy, s.x, memory.leftCols(s.m)), std::invalid_argument);
    CHECK_THROWS_AS(TestType::backward(s.dy, s.x, memory.col(2), statistics, dx, shifted, free), std::invalid_argument);
  }
  CHECK(same_bits(memory, before));
}

TEMPLATE_TEST_CASE("norms: every layout of x gives the bits of its plain copy", "", FOLDNORM_ALL_NORMS) {
  NormCase<TestType> s;
  using Scalar = typename TestType::Scalar;
  using ByRows = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  auto const forward = [&](auto const& x) { return Matrix<Scalar>(TestType::forward(x, s.gamma, s.beta, s.eps)); };

  CHECK(same_bits(forward(ByRows(s.x)), s.y));
  Matrix<Scalar> const transposed = s.x.transpose();
  CHECK(same_bits(forward(transposed.transpose()), s.y));
  CHECK(same_bits(forward(s.x * Scalar(2) / Scalar(2)), s.y));

  Matrix<Scalar> spread = Matrix<Scalar>::Random(2 * s.n, 3 * s.m);
  using Strided = Eigen::Map<Matrix<Scalar>, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  Strided inner(spread.data(), s.n, s.m, {6 * s.n, 2});
  inner = s.x;
  CHECK(same_bits(forward(inner), s.y));
  Strided backwards(spread.data() + (s.n - 1) * 2 + (s.m - 1) * 6 * s.n, s.n, s.m, {-6 * s.n, -2});
  backwards = s.x;
  CHECK(same_bits(forward(backwards), s.y));
  CHECK(same_bits(forward(s.x.rowwise().reverse().rowwise().reverse()), s.y));
}

namespace {

template <class Norm, Index features>
void check_every_alignment() {
  NormCase<Norm, features> s;
  using Scalar = typename Norm::Scalar;
  using Columns = Eigen::Map<Matrix<Scalar>, Eigen::Unaligned, Eigen::OuterStride<>>;
  Scalar const sentinel = Scalar(-12345);
  for (Index offset = 0; offset < 17; ++offset) {
    INFO(features << " features, offset " << offset);
    Index const stride = s.n + 1 + offset;
    std::vector<Scalar> from(std::size_t(stride * s.m + 64), sentinel), to = from;
    Columns x(from.data() + offset, s.n, s.m, Eigen::OuterStride<>(stride));
    Columns y(to.data() + 17 - offset, s.n, s.m, Eigen::OuterStride<>(stride));
    x = s.x;
    Norm::forward(x, s.gamma, s.beta, s.eps, y);
    CHECK(same_bits(Matrix<Scalar>(y), s.y));
    y = s.x;
    Norm::forward(y, s.gamma, s.beta, s.eps, y);
    CHECK(same_bits(Matrix<Scalar>(y), s.y));
    y.setConstant(sentinel);
    CHECK(std::count(to.begin(), to.end(), sentinel) == std::ptrdiff_t(to.size()));

    NormStatistics<Scalar> statistics;
    Matrix<Scalar> plain(s.n, s.m), dx(s.n, s.m);
    Norm::forward(s.x, s.gamma, s.beta, s.eps, plain, statistics);
    Norm::backward(s.dy, s.x, s.gamma, statistics, dx, none, none);
    Norm::backward(s.dy, x, s.gamma, statistics, y, none, none);
    CHECK(same_bits(Matrix<Scalar>(y), dx));
    y.setConstant(sentinel);
    CHECK(std::count(to.begin(), to.end(), sentinel) == std::ptrdiff_t(to.size()));
  }
}

// A matrix whose columns begin at every boundary there is, with a feature that nothing may write.
struct Tall {
  explicit Tall(Index n, Index m) : all(Matrix<float>::Constant(n + 1, m, -12345)) {}
  auto columns() { return all.topRows(all.rows() - 1); }
  bool is(Matrix<float> const& expected) const {
    return same_bits(all.topRows(expected.rows()), expected) && (all.bottomRows(1).array() == -12345).all();
  }
  Matrix<float> all;
};

// A matrix whose columns adjoin, from `offset` values past the beginning of a cache's line on, and what lies around it.
struct Shifted {
  Shifted(Index features, Index samples, Index offset)
      : n(features), m(samples), all(Vector<float>::Constant(n * m + 64, -12345)) {
    while (reinterpret_cast<std::uintptr_t>(all.data() + first) % 64 != 0) ++first;
    first += offset;
  }
  Eigen::Map<Matrix<float>> columns() { return {all.data() + first, n, m}; }
  bool is(Matrix<float> const& expected) {
    bool const same = same_bits(columns(), expected);
    columns().setConstant(-12345);
    return same && (all.array() == -12345).all();
  }
  Index n, m, first = 1;
  Vector<float> all;
};

}  // namespace

TEMPLATE_TEST_CASE("norms: every alignment gives the same bits and leaves the padding alone", "", FOLDNORM_ALL_NORMS) {
  check_every_alignment<TestType, 45>();
  check_every_alignment<TestType, 650>();    // 20 lines of a cache and more: written in whole lines
  check_every_alignment<TestType, 16600>();  // more terms than a lane takes in float, with packs of any width
}

// Outputs of 16 MiB and more go past the caches where they are not in place.
TEMPLATE_TEST_CASE("norms: outputs too large for the caches are the same bits wherever they begin", "",
                   laws::LayerNormOf<float>, laws::RMSNormOf<float>) {
  for (Index n : {24, 200, 333, 768, 784, 2001, 9000}) {
    Index const m = (Index{17} << 20) / 4 / n;
    Matrix<float> x = normal<float>(n, m, 312, 1), dy = x.rowwise().reverse(), y = x, dx = dy;
    for (Index j : {Index{0}, Index{5}, Index{6}, m - 1}) x.col(j) *= 1e25f;  // not for the fast arithmetic
    dy.col(9) *= 1e30f;
    Vector<float> const gamma = normal<float>(n, 1, 313, 1, 0.3), beta = normal<float>(n, 1, 314);
    NormStatistics<float> statistics;
    y = x;
    dx = dy;
    TestType::forward(y, gamma, beta, 1e-5f, y, statistics);
    CHECK(statistics.samples[5].exact);
    TestType::backward(dx, x, gamma, statistics, dx, none, none);
    for (Index offset : {0, 3, 4, 8}) {
      INFO("n " << n << ", offset " << offset);
      Shifted shifted(n, m, offset);
      TestType::forward(x, gamma, beta, 1e-5f, shifted.columns());
      CHECK(shifted.is(y));
      TestType::backward(dy, x, gamma, statistics, shifted.columns(), none, none);
      CHECK(shifted.is(dx));
    }
  }
}

TEMPLATE_TEST_CASE("norms: outputs too large for the caches are the same bits", "", laws::LayerNormOf<float>,
                   laws::RMSNormOf<float>) {
  for (Index n : {16, 333, 768, 769, 4096}) {
    INFO("n " << n);
    Index const m = (Index{17} << 20) / 4 / n;
    Matrix<float> const x = normal<float>(n, m, 309, 1), dy = x.rowwise().reverse();
    Vector<float> const gamma = normal<float>(n, 1, 310, 1, 0.3), beta = normal<float>(n, 1, 311);
    Vector<float> dgamma(n), dbeta(n), other_dgamma(n), other_dbeta(n);
    NormStatistics<float> statistics;
    Matrix<float> y = x, dx = dy, other(n, m);
    {
      Tall tall(n, m);
      TestType::forward(y, gamma, beta, 1e-5f, y);
      TestType::forward(x, gamma, beta, 1e-5f, other, statistics);
      TestType::forward(x, gamma, beta, 1e-5f, tall.columns());
      CHECK(same_bits(other, y));
      CHECK(tall.is(y));
    }
    {
      Tall tall(n, m);
      TestType::backward(dx, x, gamma, statistics, dx, dgamma, dbeta);
      for (bool aligned : {true, false}) {
        if (aligned) {
          TestType::backward(dy, x, gamma, statistics, other, other_dgamma, other_dbeta);
        } else {
          TestType::backward(dy, x, gamma, statistics, tall.columns(), other_dgamma, other_dbeta);
        }
        CHECK((aligned ? same_bits(other, dx) : tall.is(dx)));
        CHECK(same_bits(other_dgamma, dgamma));
        CHECK(same_bits(other_dbeta, dbeta));
      }
    }
    for (Index groups : {n / 8, Index{1}}) {
      if (n % groups != 0) continue;
      Tall tall(n, m);
      y = x;
      TestType::forward_groups(y, n / groups, gamma, beta, 1e-5f, y);
      TestType::forward_groups(x, n / groups, gamma, beta, 1e-5f, tall.columns());
      CHECK(tall.is(y));
    }
    {
      Tall tall_sum(n, m), tall(n, m);
      TestType::forward_sum(x, 0.5f, dy, gamma, beta, 1e-5f, dx, y);
      TestType::forward_sum(x, 0.5f, dy, gamma, beta, 1e-5f, tall_sum.columns(), tall.columns());
      CHECK(tall_sum.is(dx));
      CHECK(tall.is(y));
      other = x;  // in place
      TestType::forward_sum(other, 0.5f, dy, gamma, beta, 1e-5f, dx, other);
      CHECK(same_bits(other, y));
    }
  }
}

TEMPLATE_TEST_CASE("norms: a vector is a matrix of one sample", "", FOLDNORM_ALL_NORMS) {
  NormCase<TestType> s;
  using Scalar = typename TestType::Scalar;
  Vector<Scalar> const x = s.x.col(2);
  Vector<Scalar> y(s.n);
  TestType::forward(x, s.gamma, s.beta, s.eps, y);
  CHECK(same_bits(y, s.y.col(2)));
  Matrix<Scalar> wide(s.n, 3);
  TestType::forward(x, s.gamma, s.beta, s.eps, wide.col(1));
  CHECK(same_bits(wide.col(1), s.y.col(2)));
}

TEMPLATE_TEST_CASE("norms: gamma and beta may be strided, transposed, expressions or absent", "", FOLDNORM_ALL_NORMS) {
  NormCase<TestType> s;
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> rows(3, s.n);
  rows.row(1) = s.gamma.transpose();
  CHECK(same_bits(TestType::forward(s.x, rows.row(1).transpose(), s.beta * Scalar(1), s.eps), s.y));
  Vector<Scalar> const ones = Vector<Scalar>::Ones(s.n), zeros = Vector<Scalar>::Zero(s.n);
  // Equal up to where the compiler fuses a multiplication into an addition: one rounding of numbers below 8.
  Scalar const tolerance = 8 * std::numeric_limits<Scalar>::epsilon();
  auto const close = [&](Matrix<Scalar> const& a, Matrix<Scalar> const& b) {
    return (a - b).cwiseAbs().maxCoeff() <= tolerance;
  };
  CHECK(close(TestType::forward(s.x, none, none, s.eps), TestType::forward(s.x, ones, zeros, s.eps)));
  CHECK(close(TestType::forward(s.x, s.gamma, none, s.eps), TestType::forward(s.x, s.gamma, zeros, s.eps)));
  CHECK(close(TestType::forward(s.x, none, s.beta, s.eps), TestType::forward(s.x, ones, s.beta, s.eps)));
}

TEMPLATE_TEST_CASE("norms: a wanted gradient does not depend on which others are wanted", "", FOLDNORM_ALL_NORMS) {
  NormCase<TestType> s;
  using Scalar = typename TestType::Scalar;
  auto const all = gradients<TestType>(s.dy, s.x, s.gamma, s.eps);
  Matrix<Scalar> y(s.n, s.m), dx(s.n, s.m);
  NormStatistics<Scalar> statistics;
  TestType::forward(s.x, s.gamma, s.beta, s.eps, y, statistics);
  Matrix<Scalar> columns(s.n, 2);
  TestType::backward(s.dy, s.x, s.gamma, statistics, dx, none, columns.col(1));
  CHECK(same_bits(dx, all.dx));
  CHECK(same_bits(columns.col(1), all.dbeta));
  TestType::backward(s.dy, s.x, s.gamma, statistics, dx, columns.col(0), none);
  CHECK(same_bits(columns.col(0), all.dgamma));
  CHECK(same_bits(y, s.y));
}

TEMPLATE_TEST_CASE("norms: an expression is evaluated once", "", FOLDNORM_ALL_NORMS) {
  NormCase<TestType> s;
  using Scalar = typename TestType::Scalar;
  long count = 0;
  Matrix<Scalar> y(s.n, s.m), dx(s.n, s.m);
  NormStatistics<Scalar> statistics;
  TestType::forward(s.x.unaryExpr(Counting{&count}), s.gamma, s.beta, s.eps, y, statistics);
  CHECK(count == s.n * s.m);
  count = 0;
  TestType::backward(s.dy.unaryExpr(Counting{&count}), s.x.unaryExpr(Counting{&count}), s.gamma, statistics, dx, none,
                     none);
  CHECK(count == 2 * s.n * s.m);
}

TEMPLATE_TEST_CASE("norms: x may be a product bound to a temporary", "", FOLDNORM_ALL_NORMS) {
  NormCase<TestType> s;
  using Scalar = typename TestType::Scalar;
  Matrix<Scalar> const weight = normal<Scalar>(s.n, s.n, 307);
  Vector<Scalar> const input = s.x.col(0);
  Vector<Scalar> y(s.n);
  TestType::forward(weight * input + s.beta, s.gamma, s.beta, Scalar(1e-5), y);
  Vector<Scalar> const product = weight * input + s.beta;
  CHECK(same_bits(y, TestType::forward(product, s.gamma, s.beta, Scalar(1e-5))));
}
