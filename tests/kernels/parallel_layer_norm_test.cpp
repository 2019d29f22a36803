// SPDX-License-Identifier: MIT
// PLN and PLS: every group is a sample of the plain norm. The plain norm's own laws are in the norm_*_test.cpp files.
#include <foldnorm/kernels/parallel_layer_norm.hpp>

#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "laws/differences.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/reference.hpp"
#include "laws/tiers.hpp"

namespace {

using namespace laws;
using foldnorm::BackwardOptions;
using foldnorm::Compute;

#define FOLDNORM_GROUP_NORMS FOLDNORM_ALL_NORMS, laws::LayerNormOf<Eigen::half>, laws::RMSNormOf<Eigen::half>

struct GroupShape {
  Index n, d;
};
// Groups below, at and above a pack; of a size that is no power of two; more of them than a block holds, and fewer.
constexpr GroupShape group_shapes[] = {{7, 1},     {384, 1},   {2, 2},     {384, 2},  {384, 3}, {4, 4},    {80, 4},
                                       {384, 4},   {80, 5},    {384, 6},   {8, 8},    {24, 8},  {384, 8},  {384, 12},
                                       {80, 16},   {384, 16},  {96, 32},   {384, 32}, {64, 64}, {384, 64}, {7, 7},
                                       {128, 128}, {384, 128}, {100, 100}, {384, 384}};

template <class Norm>
struct Grouped {
  using Scalar = typename Norm::Scalar;
  GroupShape shape;
  Matrix<Scalar> x, dy = normal<Scalar>(shape.n, x.cols(), 702);
  Vector<Scalar> gamma = normal<Scalar>(shape.n, 1, 703, 1, 0.3);
  // A shift near 0 would ask for E_y where only nrm can be promised.
  Vector<Scalar> beta = (normal<float>(shape.n, 1, 704).array().sign() * 0.125f).matrix().template cast<Scalar>();
  Compute<Scalar> eps = Compute<Scalar>(1e-5);

  explicit Grouped(GroupShape s, Index m = 5) : Grouped(s, normal<Scalar>(s.n, m, 701, 2)) {}
  Grouped(GroupShape s, Matrix<Scalar> const& values) : shape(s), x(values) {}
  Index groups() const { return shape.n / shape.d; }
  std::string text() const { return std::to_string(shape.n) + " features in groups of " + std::to_string(shape.d); }

  Matrix<Scalar> forward(Accuracy accuracy = Accuracy::fast) const {
    return Norm::forward_groups(x, shape.d, gamma, beta, eps, accuracy);
  }
  Gradients<Scalar> backward(Accuracy accuracy = Accuracy::fast) const {
    Index const n = shape.n;
    Matrix<Scalar> y(n, x.cols());
    NormStatistics<Scalar> statistics;
    Norm::forward_groups(x, shape.d, gamma, beta, eps, y, statistics, accuracy);
    Gradients<Scalar> result{Matrix<Scalar>(n, x.cols()), Vector<Scalar>(n), Vector<Scalar>(n)};
    Norm::backward_groups(dy, x, gamma, statistics, result.dx, result.dgamma, result.dbeta, BackwardOptions{accuracy});
    return result;
  }
  // Rows of group g of anything.
  template <class M>
  auto of(M const& matrix, Index g) const {
    using Plain = std::conditional_t<M::IsVectorAtCompileTime, Vector<Scalar>, Matrix<Scalar>>;
    return Plain(matrix.middleRows(g * shape.d, shape.d));
  }
};

template <class Norm>
void check_groups_within(Grouped<Norm> const& c, Accuracy accuracy, double tier) {
  auto const y = c.forward(accuracy);
  auto const ours = c.backward(accuracy);
  for (Index g = 0; g < c.groups(); ++g) {
    INFO(c.text() << ", group " << g);
    auto const x = c.of(c.x, g), dy = c.of(c.dy, g);
    auto const gamma = c.of(c.gamma, g);
    CHECK(forward_errors(c.of(y, g), x, gamma, c.of(c.beta, g), c.eps, Norm::subtracts_mean).y <= tier);
    Gradients<typename Norm::Scalar> const group{c.of(ours.dx, g), c.of(ours.dgamma, g), c.of(ours.dbeta, g)};
    BackwardErrors const errors = backward_errors(group, dy, x, gamma, c.eps, Norm::subtracts_mean);
    CHECK(errors.dx <= tier);
    CHECK(errors.dgamma <= tier);
    CHECK(errors.dbeta <= tier);
  }
}

// Ordinary groups among such as leave the range of the fast mode, or measure their K wrong.
template <class Scalar>
Matrix<Scalar> mixed_groups(GroupShape shape, Index m) {
  Matrix<double> x = normal<double>(shape.n, m, 705);
  double const large = double(largest<Compute<Scalar>>), huge = std::is_same_v<Scalar, Eigen::half> ? 6e4 : large / 4;
  for (Index j = 0; j < m; ++j) {
    for (Index g = 0; g < shape.n / shape.d; ++g) {
      auto group = x.col(j).segment(g * shape.d, shape.d);
      switch ((g + 3 * j) % 8) {
        case 1:
          group.array() += 1000;
          break;
        case 2:
          group.setConstant(3.14159);
          break;
        case 3:
          group *= huge / 8;
          break;
        case 4:
          group *= 1e-7;
          break;
        case 5:
          group[0] = 5000;
          break;
        case 6:
          group.setZero();
          break;
        default:
          break;
      }
    }
  }
  return x.cast<Compute<Scalar>>().template cast<Scalar>();
}

}  // namespace

TEMPLATE_TEST_CASE("parallel norms: every group is normalized as a sample of its own, forward and backward", "",
                   FOLDNORM_GROUP_NORMS) {
  for (GroupShape shape : group_shapes) {
    Grouped<TestType> const c(shape);
    check_groups_within(c, Accuracy::fast, tier_2);
    check_groups_within(c, Accuracy::accurate, tier_1);
  }
}

TEMPLATE_TEST_CASE("parallel norms: groups of any mean and magnitude beside each other are within tier 2", "",
                   FOLDNORM_GROUP_NORMS) {
  for (GroupShape shape : group_shapes) {
    Grouped<TestType> const c(shape, mixed_groups<typename TestType::Scalar>(shape, 9));
    check_groups_within(c, Accuracy::fast, tier_2);
  }
}

TEMPLATE_TEST_CASE("parallel norms: a group's bits depend on nothing but the group", "", FOLDNORM_GROUP_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (GroupShape shape : group_shapes) {
    // Unusual neighbours send a whole block another way.
    for (auto const& x : {normal<Scalar>(shape.n, 9, 706, 2), mixed_groups<Scalar>(shape, 9)}) {
      Grouped<TestType> const c(shape, x);
      Matrix<Scalar> const y = c.forward();
      auto const dx = c.backward().dx;
      for (Index j : {0, 1, 8}) {
        INFO(c.text() << ", column " << j);
        Grouped<TestType> one(shape, x.col(j));
        one.dy = c.dy.col(j);
        CHECK(same_bits(one.forward(), y.col(j)));
        CHECK(same_bits(one.backward().dx, dx.col(j)));
      }
      for (Index g = 0; g < c.groups(); g += 1 + c.groups() / 5) {
        INFO(c.text() << ", group " << g);
        Index const d = shape.d, i = g * d;
        Grouped<TestType> alone({d, d}, c.of(x, g));
        alone.gamma = c.of(c.gamma, g);
        alone.beta = c.of(c.beta, g);
        alone.dy = c.of(c.dy, g);
        CHECK(same_bits(alone.forward(), c.of(y, g)));
        CHECK(same_bits(alone.backward().dx, c.of(dx, g)));
        Matrix<Scalar> block(d, x.cols());  // the same, read and written in strided views
        TestType::forward_groups(x.middleRows(i, d), d, alone.gamma, alone.beta, c.eps, block);
        CHECK(same_bits(block, c.of(y, g)));
      }
      Matrix<Scalar> in_place = x;
      TestType::forward_groups(in_place, shape.d, c.gamma, c.beta, c.eps, in_place);
      CHECK(same_bits(in_place, y));
    }
  }
}

TEMPLATE_TEST_CASE("parallel norms: one group is the plain norm, bit for bit from a pack on", "",
                   FOLDNORM_GROUP_NORMS) {
  for (Index n : {16, 32, 64, 100, 128, 768}) {
    INFO("n " << n);
    Grouped<TestType> const c({n, n}, 13);
    CHECK(same_bits(c.forward(), TestType::forward(c.x, c.gamma, c.beta, c.eps)));
    CHECK(same_bits(c.backward().dx, gradients<TestType>(c.dy, c.x, c.gamma, c.eps).dx));
  }
  for (Index n : {1, 2, 3, 4, 5, 300}) {
    INFO("n " << n);
    Grouped<TestType> const c({n, n});
    CHECK(same_bits(c.forward(Accuracy::accurate), TestType::forward(c.x, c.gamma, c.beta, c.eps, Accuracy::accurate)));
  }
}

TEMPLATE_TEST_CASE("parallel norms: dx, dgamma and dbeta are the derivatives of the forward", "",
                   laws::LayerNormOf<double>, laws::RMSNormOf<double>) {
  for (Index d : {1, 2, 3, 4, 6, 12}) {
    for (Accuracy accuracy : {Accuracy::fast, Accuracy::accurate}) {
      INFO("groups of " << d);
      Grouped<TestType> c({12, d}, 2);
      c.eps = 0.1;  // large beside the step, so that the higher derivatives stay of order 1
      auto const ours = c.backward(accuracy);
      auto const loss = [&] { return dot(c.dy, c.forward(accuracy)); };
      for (Index i = 0; i < 12; ++i) {
        for (Index j = 0; j < 2; ++j) CHECK(std::abs(ours.dx(i, j) - partial(c.x(i, j), loss)) <= difference_tolerance);
        CHECK(std::abs(ours.dgamma[i] - partial(c.gamma[i], loss)) <= difference_tolerance);
        CHECK(std::abs(ours.dbeta[i] - partial(c.beta[i], loss)) <= difference_tolerance);
      }
    }
  }
}

TEMPLATE_TEST_CASE("parallel norms: a group without spread gives beta bit for bit, and for eps = 0 no gradient", "",
                   FOLDNORM_GROUP_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (GroupShape shape : group_shapes) {
    for (float constant : {0.0f, 1.0f / 3, -1234.0f, 6e4f}) {
      if (!TestType::subtracts_mean && constant != 0) continue;
      for (Compute<Scalar> eps : {Compute<Scalar>(1e-5), Compute<Scalar>(0)}) {
        Grouped<TestType> c(shape);
        c.eps = eps;
        INFO(c.text() << ", constant " << constant << ", eps " << eps);
        Index const g = c.groups() / 2;
        c.x.middleRows(g * shape.d, shape.d).setConstant(Scalar(constant));
        CHECK(same_bits(c.of(c.forward(), g), c.of(c.beta, g).replicate(1, c.x.cols())));
        if (eps > 0) continue;
        auto const ours = c.backward();
        CHECK(all_zero(c.of(ours.dx, g)));
        CHECK(all_zero(c.of(ours.dgamma, g)));
      }
    }
  }
}

TEMPLATE_TEST_CASE("parallel norms: a NaN spoils its own group and leaves the bits of all others", "",
                   FOLDNORM_GROUP_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (GroupShape shape : group_shapes) {
    Grouped<TestType> good(shape), bad = good;
    INFO(good.text());
    Index const g = good.groups() / 3;
    bad.x(g * shape.d + shape.d / 2, 1) = Scalar(not_a_number<float>);
    auto const y = good.forward(), y_bad = bad.forward();
    auto const dx = good.backward().dx, dx_bad = bad.backward().dx;
    for (Index j = 0; j < good.x.cols(); ++j) {
      for (Index k = 0; k < good.groups(); ++k) {
        if (j == 1 && k == g) {
          CHECK(good.of(y_bad, k).col(j).template cast<float>().array().isNaN().all());
          CHECK(good.of(dx_bad, k).col(j).template cast<float>().array().isNaN().all());
        } else {
          CHECK(same_bits(good.of(y_bad, k).col(j), good.of(y, k).col(j)));
          CHECK(same_bits(good.of(dx_bad, k).col(j), good.of(dx, k).col(j)));
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("parallel norms: statistics are kept one per group, column by column", "", FOLDNORM_GROUP_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (GroupShape shape : group_shapes) {
    for (Accuracy accuracy : {Accuracy::fast, Accuracy::accurate}) {
      Grouped<TestType> c(shape, 3);
      INFO(c.text());
      for (Index j = 0; j < 3; ++j) {
        for (Index g = 0; g < c.groups(); ++g) {
          c.x.col(j).segment(g * shape.d, shape.d).setConstant(Scalar(float(1 + g + 400 * j)));
        }
      }
      Matrix<Scalar> y(shape.n, 3);
      NormStatistics<Scalar> statistics;
      TestType::forward_groups(c.x, shape.d, c.gamma, c.beta, c.eps, y, statistics, accuracy);
      CHECK(statistics.features == shape.n);
      CHECK(statistics.norm_size == shape.d);
      REQUIRE(Index(statistics.samples.size()) == 3 * c.groups());
      for (Index k = 0; k < 3 * c.groups(); ++k) {
        double const value = double(1 + k % c.groups() + 400 * (k / c.groups()));
        auto const& s = statistics.samples[std::size_t(k)];
        if (TestType::subtracts_mean) {
          CHECK(s.mean_high == value);
        } else {
          CHECK(std::abs(s.inverse_deviation * value - 1) <= 1e-5);  // eps = 1e-5 beside 1
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("parallel norms: a norm_size that does not divide the features throws and writes nothing", "",
                   laws::LayerNormOf<float>, laws::RMSNormOf<float>) {
  Grouped<TestType> const c({12, 3});
  Matrix<float> const untouched = Matrix<float>::Constant(12, 5, 42);
  Matrix<float> y = untouched;
  NormStatistics<float> statistics;
  for (Index norm_size : {0, -1, -3, 5, 24, 13}) {
    INFO("norm_size " << norm_size);
    CHECK_THROWS_AS(TestType::forward_groups(c.x, norm_size, c.gamma, c.beta, c.eps, y), std::invalid_argument);
    CHECK_THROWS_WITH(TestType::forward_groups(c.x, norm_size, c.gamma, c.beta, c.eps, y, statistics),
                      Catch::Contains("norm_size is " + std::to_string(norm_size)) && Catch::Contains("12"));
  }
  CHECK(same_bits(y, untouched));
  CHECK(statistics.samples.empty());
  Matrix<float> const empty(0, 4);
  Matrix<float> out(0, 4);
  Vector<float> const no_gamma(0);
  CHECK_THROWS_AS(TestType::forward_groups(empty, 0, no_gamma, no_gamma, c.eps, out), std::invalid_argument);
}

TEMPLATE_TEST_CASE("parallel norms: statistics of groups are refused where samples are whole columns", "",
                   laws::LayerNormOf<float>, laws::RMSNormOf<float>) {
  Grouped<TestType> const c({12, 3});
  Matrix<float> y(12, 5), dx = Matrix<float>::Constant(12, 5, 42);
  NormStatistics<float> statistics;
  TestType::forward_groups(c.x, 3, c.gamma, c.beta, c.eps, y, statistics);
  CHECK_THROWS_AS(TestType::backward(c.dy, c.x, c.gamma, statistics, dx, none, none), std::invalid_argument);
  CHECK_THROWS_AS(TestType::backward_sum(c.dy, none, c.x, 1.0f, c.gamma, statistics, dx, none, none, none),
                  std::invalid_argument);
  CHECK(same_bits(dx, Matrix<float>::Constant(12, 5, 42)));
}

TEMPLATE_TEST_CASE("parallel norms: no samples and no features are legal and empty", "", laws::LayerNormOf<float>,
                   laws::RMSNormOf<float>) {
  for (auto [n, m] : {std::pair<Index, Index>{6, 0}, {0, 4}}) {
    INFO(n << "x" << m);
    Grouped<TestType> const c({n, 3}, m);
    CHECK(c.forward().size() == 0);
    auto const ours = c.backward();
    CHECK(all_zero(ours.dgamma));
    CHECK(all_zero(ours.dbeta));
  }
}

// Outputs of 16 MiB are written past the caches, by stores that fault at an address that is no multiple of a pack; the
// last block of a column begins where its end says.
TEMPLATE_TEST_CASE("PLN and PLS: large outputs whose columns end anywhere in memory with room between", "",
                   FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  constexpr Index stride = 80;
  for (GroupShape const shape : {GroupShape{66, 2}, {68, 2}, {72, 2}, {68, 4}, {72, 4}, {76, 4}, {72, 8}, {80, 8}}) {
    Index const m = (Index{16} << 20) / (shape.n * static_cast<Index>(sizeof(Scalar))) + 1;
    INFO(shape.n << " features in groups of " << shape.d);
    Matrix<Scalar> const x = normal<Scalar>(shape.n, 37, 711, 1).replicate(1, m / 37 + 1).leftCols(m);
    Vector<Scalar> const gamma = normal<Scalar>(shape.n, 1, 712), beta = normal<Scalar>(shape.n, 1, 713);
    Matrix<Scalar> memory(stride, m);
    TestType::forward_groups(x, shape.d, gamma, beta, Scalar(1e-5), memory.topRows(shape.n));
    Matrix<Scalar> const small = TestType::forward_groups(x.leftCols(37), shape.d, gamma, beta, Scalar(1e-5));
    CHECK(same_bits(memory.topLeftCorner(shape.n, 37), small));
    CHECK(same_bits(memory.block(0, m / 37 * 37 - 37, shape.n, 37), small));
  }
}
