// SPDX-License-Identifier: MIT
// The blocked backward of short groups: full blocks and parts of one, joined columns, every way out of it.
// parallel_layer_norm_test.cpp has the laws that hold for groups of any size.
#include <foldnorm/kernels/detail/short_groups_backward.hpp>

#include <cmath>
#include <string>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/reference.hpp"
#include "laws/tiers.hpp"

namespace {

using namespace laws;
using foldnorm::BackwardOptions;
using foldnorm::Compute;
using foldnorm::OptionalOutput;

constexpr Index sizes[] = {2, 4, 8, 16, 24, 32, 64};
// Parts of a block, whole ones, and whole ones with a part; for registers of 2 to 16 lanes.
constexpr Index group_counts[] = {1, 2, 3, 5, 7, 8, 12, 16, 17, 35};

template <class Norm>
struct Groups {
  using T = typename Norm::Scalar;
  Index d, groups;
  Matrix<T> x, dy, y;
  Vector<T> gamma;
  Compute<T> eps = Compute<T>(1e-5);
  NormStatistics<T> statistics;

  Groups(Index size, Index count, Index columns)
      : d(size),
        groups(count),
        x(normal<T>(d * groups, columns, 1201, 1)),
        dy(normal<T>(d * groups, columns, 1202)),
        y(d * groups, columns),
        gamma(normal<T>(d * groups, 1, 1203, 1, 0.3)) {
    measure();
  }
  void measure() { Norm::forward_groups(x, d, gamma, gamma, eps, y, statistics); }
  std::string text() const {
    return std::to_string(x.cols()) + " columns of " + std::to_string(groups) + " groups of " + std::to_string(d);
  }
  Gradients<T> empty() const { return {Matrix<T>(x.rows(), x.cols()), Vector<T>(x.rows()), Vector<T>(x.rows())}; }
  Gradients<T> backward() const {
    Gradients<T> result = empty();
    Norm::backward_groups(dy, x, gamma, statistics, result.dx, result.dgamma, result.dbeta);
    return result;
  }
  // Group g of all columns, or of column j.
  Matrix<T> of(Matrix<T> const& matrix, Index g) const { return matrix.middleRows(g * d, d); }
  Matrix<T> of(Matrix<T> const& matrix, Index g, Index j) const { return matrix.block(g * d, j, d, 1); }
  BackwardErrors errors(Gradients<T> const& all, Index g, Vector<T> const& gain) const {
    Gradients<T> const own{of(all.dx, g), all.dgamma.segment(g * d, d), all.dbeta.segment(g * d, d)};
    return backward_errors(own, of(dy, g), of(x, g), Vector<T>(gain.segment(g * d, d)), eps, Norm::subtracts_mean);
  }
  // dx of one group by itself.
  Matrix<T> alone(Index g, Index j) const {
    NormStatistics<T> own{d, d, {statistics.samples[std::size_t(j * groups + g)]}};
    Matrix<T> dx(d, 1);
    Norm::backward_groups(of(dy, g, j), of(x, g, j), Vector<T>(gamma.segment(g * d, d)), own, dx, none, none);
    return dx;
  }
};

template <class Norm>
void check_within_tier_2(Groups<Norm> const& c, Gradients<typename Norm::Scalar> const& ours,
                         Vector<typename Norm::Scalar> const& gain) {
  for (Index g = 0; g < c.groups; ++g) {
    INFO(c.text() << ", group " << g);
    BackwardErrors const errors = c.errors(ours, g, gain);
    CHECK(errors.dx <= tier_2);
    // Of one column, an xhat next to 0 has no other terms beside it that would outweigh the error of its mean.
    if (c.x.cols() > 1) CHECK(errors.dgamma <= tier_2);
    CHECK(errors.dbeta <= tier_2);
  }
}

#define FOLDNORM_GROUP_NORMS FOLDNORM_ALL_NORMS, laws::LayerNormOf<Eigen::half>, laws::RMSNormOf<Eigen::half>

}  // namespace

TEMPLATE_TEST_CASE("short groups' backward: every size and number of groups is within tier 2", "",
                   FOLDNORM_GROUP_NORMS) {
  for (Index d : sizes) {
    for (Index count : group_counts) {
      for (Index columns : {1, 11}) {
        Groups<TestType> const c(d, count, columns);
        check_within_tier_2(c, c.backward(), c.gamma);
      }
    }
  }
  for (Index columns : {257, 600}) {  // several slices, whose joined columns begin anew
    Groups<TestType> const c(4, 3, columns);
    check_within_tier_2(c, c.backward(), c.gamma);
  }
}

TEMPLATE_TEST_CASE("short groups' backward: in place, strided, and alone, dx has the same bits", "", LayerNormOf<float>,
                   RMSNormOf<double>, LayerNormOf<Eigen::half>) {
  using T = typename TestType::Scalar;
  for (Index d : sizes) {
    for (Index count : group_counts) {
      Groups<TestType> const c(d, count, 11);
      INFO(c.text());
      Gradients<T> const ours = c.backward();
      Gradients<T> other = c.empty();
      Matrix<T> dy = c.dy, x = c.x;
      TestType::backward_groups(dy, c.x, c.gamma, c.statistics, dy, other.dgamma, other.dbeta);
      CHECK(same_bits(dy, ours.dx));
      CHECK(same_bits(other.dgamma, ours.dgamma));
      CHECK(same_bits(other.dbeta, ours.dbeta));
      TestType::backward_groups(c.dy, x, c.gamma, c.statistics, x, other.dgamma, other.dbeta);
      CHECK(same_bits(x, ours.dx));
      CHECK(same_bits(other.dgamma, ours.dgamma));

      Matrix<T> tall = Matrix<T>::Constant(c.x.rows() + 3, 11, T(42));
      TestType::backward_groups(c.dy, c.x, c.gamma, c.statistics, tall.middleRows(1, c.x.rows()), other.dgamma,
                                other.dbeta);
      CHECK(same_bits(Matrix<T>(tall.middleRows(1, c.x.rows())), ours.dx));
      CHECK((tall.topRows(1).array() == T(42)).all());
      CHECK((tall.bottomRows(2).array() == T(42)).all());
      other.dx = ours.dx;
      check_within_tier_2(c, other, c.gamma);  // its columns are not joined

      for (Index j : {0, 3, 10}) {
        for (Index g = 0; g < count; g += 1 + count / 4) {
          CHECK(same_bits(c.alone(g, j), c.of(ours.dx, g, j)));
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("short groups' backward: adds to dx and to the parameters' gradients", "", LayerNormOf<float>,
                   RMSNormOf<double>, LayerNormOf<Eigen::half>) {
  using T = typename TestType::Scalar;
  for (Index d : sizes) {
    for (Index count : group_counts) {
      Groups<TestType> const c(d, count, 5);
      INFO(c.text());
      Gradients<T> const plain = c.backward();
      Gradients<T> sum{normal<T>(c.x.rows(), 5, 1204), normal<T>(c.x.rows(), 1, 1205), normal<T>(c.x.rows(), 1, 1206)};
      Gradients<T> const before = sum;
      TestType::backward_groups(c.dy, c.x, c.gamma, c.statistics, sum.dx, sum.dgamma, sum.dbeta,
                                BackwardOptions{Accuracy::fast, true, true});
      // Rounded once where what was added had been rounded before: half a step of each, and of the sum.
      auto const check = [&](auto const& ours, auto const& start, auto const& added) {
        for (Index k = 0; k < ours.size(); ++k) {
          Wide const exact = Wide(start(k)) + Wide(added(k));
          Wide const u = std::is_same_v<T, Eigen::half> ? 0x1p-11L : unit_roundoff<T>;
          CHECK(std::abs(Wide(ours(k)) - exact) <= u * (std::abs(exact) + std::abs(Wide(added(k)))) * 1.01L);
        }
      };
      check(sum.dx, before.dx, plain.dx);
      check(sum.dgamma, before.dgamma, plain.dgamma);
      check(sum.dbeta, before.dbeta, plain.dbeta);
    }
  }
}

TEMPLATE_TEST_CASE("short groups' backward: zero, tiny, huge and bad gradients beside each other", "",
                   LayerNormOf<float>, RMSNormOf<float>, LayerNormOf<double>) {
  using T = typename TestType::Scalar;
  for (Index d : sizes) {
    for (Index count : group_counts) {
      Groups<TestType> c(d, count, 11);
      INFO(c.text());
      auto const kind = [](Index g, Index j) { return (g + 5 * j) % 7; };
      for (Index j = 0; j < 11; ++j) {
        for (Index g = 0; g < count; ++g) {
          auto dy = c.dy.col(j).segment(g * d, d);
          if (kind(g, j) == 1 || kind(g, j) == 4) dy.setZero();
          if (kind(g, j) == 2) dy *= T(1e-25);
          if (kind(g, j) == 3) dy *= T(1e25);
          if (kind(g, j) == 5) dy[d / 2] = not_a_number<T>;
          if (kind(g, j) == 6) c.x.col(j).segment(g * d, d) *= T(1e-30);  // statistics found in double
        }
      }
      c.eps = 0;
      c.measure();
      Gradients<T> const ours = c.backward();
      for (Index j = 0; j < 11; ++j) {
        for (Index g = 0; g < count; ++g) {
          INFO("group " << g << " of column " << j);
          Matrix<T> const dx = c.of(ours.dx, g, j);
          CHECK(same_bits(c.alone(g, j), dx));
          if (kind(g, j) == 5) {
            CHECK(dx.array().isNaN().all());
            continue;
          }
          if (kind(g, j) == 1 || kind(g, j) == 4) CHECK(all_zero(dx));
          Gradients<T> const own{dx, Vector<T>::Zero(d), Vector<T>::Zero(d)};
          CHECK(backward_errors(own, c.of(c.dy, g, j), c.of(c.x, g, j), Vector<T>(c.gamma.segment(g * d, d)), c.eps,
                                TestType::subtracts_mean)
                    .dx <= tier_2);
        }
      }
    }
  }
}

TEST_CASE("short groups' backward: without a gamma, a gamma of ones") {
  for (Index d : sizes) {
    for (Index count : group_counts) {
      Groups<RMSNormOf<float>> c(d, count, 11);
      INFO(c.text());
      Gradients<float> ours = c.empty();
      RMSNormOf<float>::backward_groups(c.dy, c.x, none, c.statistics, ours.dx, ours.dgamma, ours.dbeta);
      c.gamma.setOnes();
      Gradients<float> const expected = c.backward();
      CHECK(same_values(ours.dx, expected.dx));
      CHECK(same_bits(ours.dgamma, expected.dgamma));
      CHECK(same_bits(ours.dbeta, expected.dbeta));
      // One sum alone, and none.
      Gradients<float> again = c.empty();
      RMSNormOf<float>::backward_groups(c.dy, c.x, none, c.statistics, again.dx, again.dgamma, none);
      CHECK(same_bits(again.dx, ours.dx));
      CHECK(same_bits(again.dgamma, ours.dgamma));
      RMSNormOf<float>::backward_groups(c.dy, c.x, none, c.statistics, again.dx, none, none);
      CHECK(same_bits(again.dx, ours.dx));
    }
  }
}

TEST_CASE("short groups' backward: a gamma per column gives each column what a vector would") {
  using Norm = LayerNormOf<float>;
  for (Index d : sizes) {
    for (Index count : group_counts) {
      Groups<Norm> c(d, count, 11);
      INFO(c.text());
      Matrix<float> const gamma = normal<float>(c.x.rows(), 11, 1207, 1, 0.3);
      Matrix<float> dx(c.x.rows(), 11), again = dx, dgamma(c.x.rows(), 11), dbeta(c.x.rows(), 11);
      Vector<float> dgamma_sum(c.x.rows());
      Norm::backward_groups(c.dy, c.x, gamma, c.statistics, dx, dgamma, dbeta);
      Norm::backward_groups(c.dy, c.x, gamma, c.statistics, again, dgamma_sum, none);  // joined where it can be
      CHECK(same_bits(again, dx));
      CHECK(same_values(dbeta, c.dy));
      for (Index j = 0; j < 11; ++j) {
        Groups<Norm> one(d, count, 1);
        one.x = c.x.col(j);
        one.dy = c.dy.col(j);
        one.gamma = gamma.col(j);
        one.measure();
        Gradients<float> const expected = one.backward();
        CHECK(same_bits(dx.col(j), expected.dx));
        CHECK(same_values(dgamma.col(j), expected.dgamma));
      }
    }
  }
}

TEST_CASE("short groups' backward: past the caches, the same bits") {
  using Norm = LayerNormOf<float>;
  Index const columns = 65600;  // 256 bytes each; from 16 MiB on they are streamed
  for (Index d : {2, 8, 64}) {
    Groups<Norm> const c(d, 64 / d, columns);
    Gradients<float> const ours = c.backward();
    Matrix<float> dx(64, columns);
    Index const half = columns / 2;
    for (Index first : {Index{0}, half}) {
      NormStatistics<float> part{64, d, {}};
      auto const begin = c.statistics.samples.begin() + first * c.groups;
      part.samples.assign(begin, begin + half * c.groups);
      Norm::backward_groups(c.dy.middleCols(first, half), c.x.middleCols(first, half), c.gamma, part,
                            dx.middleCols(first, half), none, none);
    }
    CHECK(same_bits(dx, ours.dx));
  }
}
