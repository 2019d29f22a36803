// SPDX-License-Identifier: MIT
// A residual sum and its norm in one pass: the sum's rounding, where it is kept, what may share memory, and gradients.
#include <foldnorm/kernels/add_norm.hpp>

#include <cmath>
#include <stdexcept>
#include <string>
#include <type_traits>
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

// Below a pack, at one and between; on the short path and beyond it.
constexpr Index widths[] = {1, 2, 3, 7, 8, 9, 16, 23, 32, 45, 64, 65, 100, 128, 301};
#define FOLDNORM_SUM_NORMS FOLDNORM_ALL_NORMS, laws::LayerNormOf<Eigen::half>, laws::RMSNormOf<Eigen::half>

template <class Norm>
struct SumCase {
  using Scalar = typename Norm::Scalar;
  using M = Matrix<Scalar>;
  Index n;
  M x = normal<Scalar>(n, uneven_samples, 801, 1), r = normal<Scalar>(n, uneven_samples, 802),
    dy = normal<Scalar>(n, uneven_samples, 803), ds = normal<Scalar>(n, uneven_samples, 804);
  Vector<Scalar> gamma = normal<Scalar>(n, 1, 805, 1, 0.3);
  Vector<Scalar> beta = (normal<float>(n, 1, 806).array().sign() * 0.125f).matrix().template cast<Scalar>();
  Compute<Scalar> alpha = Compute<Scalar>(0.7), eps = Compute<Scalar>(1e-5);

  // Samples that leave the fast mode's range, or measure their K wrong, each beside ordinary ones.
  explicit SumCase(Index features) : n(features) {
    x.col(1).setConstant(Scalar(3));
    r.col(1).setConstant(Scalar(-0.5f));
    x.col(3) *= Scalar(1e4f);
    x(0, 5) = Scalar(3e4f);
    x.col(6).setZero();
    r.col(6).setZero();
    if constexpr (!std::is_same_v<Scalar, Eigen::half>) x.col(8) *= Scalar(1e30);
  }
  M sum() const {
    M s(n, uneven_samples), y(n, uneven_samples);
    Norm::forward_sum(x, alpha, r, gamma, beta, eps, s, y);
    return s;
  }
  template <class S>
  void forward(S&& s, M& y, Accuracy accuracy) const {
    Norm::forward_sum(x, alpha, r, gamma, beta, eps, s, y, accuracy);
  }
};

}  // namespace

TEMPLATE_TEST_CASE("add norms: s is x + alpha r rounded at most twice, and y is the norm of s, bit for bit", "",
                   FOLDNORM_SUM_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index n : widths) {
    SumCase<TestType> const c(n);
    for (Accuracy accuracy : both_modes) {
      INFO("n " << n << ", accurate " << (accuracy == Accuracy::accurate));
      Matrix<Scalar> s(n, uneven_samples), y(n, uneven_samples), without_s(n, uneven_samples);
      NormStatistics<Scalar> statistics, plain_statistics;
      TestType::forward_sum(c.x, c.alpha, c.r, c.gamma, c.beta, c.eps, s, y, statistics, accuracy);
      Matrix<Wide> const product = Wide(c.alpha) * c.r.template cast<Wide>();
      Matrix<Wide> const exact = c.x.template cast<Wide>() + product;
      Worst worst;
      for (Index k = 0; k < s.size(); ++k) {
        // alpha r may be rounded before it is added; half stores the sum of floats.
        Wide const terms = std::abs(exact(k)) + std::abs(product(k));
        worst.see(error_before_storing(s(k), exact(k)), unit_roundoff<Scalar> * terms + smallest<Scalar>);
      }
      CHECK(worst.value() <= 1.0001);

      Matrix<Scalar> expected(n, uneven_samples);
      TestType::forward(s, c.gamma, c.beta, c.eps, expected, plain_statistics, accuracy);
      CHECK(same_bits(y, expected));
      TestType::forward_sum(c.x, c.alpha, c.r, c.gamma, c.beta, c.eps, none, without_s, accuracy);
      CHECK(same_bits(without_s, y));
      auto const same = [](auto const& a, auto const& b) {
        return a.mean_high == b.mean_high && a.mean_low == b.mean_low && a.inverse_deviation == b.inverse_deviation &&
               a.scale == b.scale && a.exact == b.exact;
      };
      for (std::size_t j = 0; j < std::size_t(uneven_samples); ++j) {
        INFO("sample " << j);
        CHECK(same(statistics.samples[j], plain_statistics.samples[j]));
      }
    }
  }
}

TEMPLATE_TEST_CASE("add norms: s may replace x or r, and y may replace x or r, in every combination", "",
                   FOLDNORM_SUM_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index n : widths) {
    SumCase<TestType> const c(n);
    for (Accuracy accuracy : both_modes) {
      INFO("n " << n << ", accurate " << (accuracy == Accuracy::accurate));
      Matrix<Scalar> s(n, uneven_samples), y(n, uneven_samples);
      c.forward(s, y, accuracy);
      enum Where { over_x, over_r, apart, nowhere };
      for (Where s_to : {over_x, over_r, apart, nowhere}) {
        for (Where y_to : {over_x, over_r, apart}) {
          if (s_to == y_to && s_to != apart) continue;  // s and y lie apart
          INFO("s to " << s_to << ", y to " << y_to);
          Matrix<Scalar> x = c.x, r = c.r, own_s(n, uneven_samples), own_y(n, uneven_samples);
          Matrix<Scalar>& s_out = s_to == over_x ? x : s_to == over_r ? r : own_s;
          Matrix<Scalar>& y_out = y_to == over_x ? x : y_to == over_r ? r : own_y;
          if (s_to == nowhere) {
            TestType::forward_sum(x, c.alpha, r, c.gamma, c.beta, c.eps, none, y_out, accuracy);
          } else {
            TestType::forward_sum(x, c.alpha, r, c.gamma, c.beta, c.eps, s_out, y_out, accuracy);
            CHECK(same_bits(s_out, s));
          }
          CHECK(same_bits(y_out, y));
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("add norms: a sample's bits do not depend on its neighbours, its position or its memory", "",
                   FOLDNORM_SUM_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index n : widths) {
    INFO("n " << n);
    SumCase<TestType> const c(n);
    Matrix<Scalar> s(n, uneven_samples), y(n, uneven_samples);
    c.forward(s, y, Accuracy::fast);
    Matrix<Scalar> tall_x(n + 3, uneven_samples), tall_r(n + 5, uneven_samples), tall_s(n + 1, uneven_samples),
        tall_y(n + 2, uneven_samples);
    tall_x.middleRows(1, n) = c.x;
    tall_r.topRows(n) = c.r;
    TestType::forward_sum(tall_x.middleRows(1, n), c.alpha, tall_r.topRows(n), c.gamma, c.beta, c.eps,
                          tall_s.bottomRows(n), tall_y.middleRows(1, n));
    CHECK(same_bits(Matrix<Scalar>(tall_s.bottomRows(n)), s));
    CHECK(same_bits(Matrix<Scalar>(tall_y.middleRows(1, n)), y));
    for (Index j = 0; j < uneven_samples; ++j) {
      INFO("sample " << j);
      Vector<Scalar> one_s(n), one_y(n);
      TestType::forward_sum(c.x.col(j), c.alpha, c.r.col(j), c.gamma, c.beta, c.eps, one_s, one_y);
      CHECK(same_bits(one_s, s.col(j)));
      CHECK(same_bits(one_y, y.col(j)));
    }
  }
}

TEMPLATE_TEST_CASE("add norms: a sum without spread gives beta, bit for bit", "", FOLDNORM_SUM_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index n : widths) {
    INFO("n " << n);
    SumCase<TestType> c(n);
    Scalar const constant(TestType::subtracts_mean ? 2.5f : 0.0f);
    c.r = (normal<float>(n, uneven_samples, 807).array() * 8)
              .round()
              .matrix()
              .template cast<Scalar>();  // exact in half, too
    c.alpha = Compute<Scalar>(0.5);
    c.x = (constant - (c.r * Scalar(0.5f)).array()).matrix();
    Matrix<Scalar> s(n, uneven_samples), y(n, uneven_samples);
    for (Compute<Scalar> eps : {Compute<Scalar>(1e-5), Compute<Scalar>(0)}) {
      for (Accuracy accuracy : both_modes) {
        c.eps = eps;
        c.forward(s, y, accuracy);
        CHECK(same_values(s, Matrix<Scalar>::Constant(n, uneven_samples, constant)));
        CHECK(same_bits(y, c.beta.replicate(1, uneven_samples)));
      }
    }
  }
}

TEMPLATE_TEST_CASE("add norms: no samples and no features are legal and empty", "", FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (auto [n, m] : {std::pair<Index, Index>{5, 0}, {0, 5}, {0, 0}}) {
    INFO(n << "x" << m);
    Matrix<Scalar> const x(n, m);
    Matrix<Scalar> s(n, m), y(n, m), dx(n, m), dr(n, m);
    Vector<Scalar> const gamma(n);
    Vector<Scalar> dgamma = Vector<Scalar>::Ones(n), dbeta = dgamma;
    NormStatistics<Scalar> statistics;
    TestType::forward_sum(x, Scalar(1), x, gamma, gamma, Scalar(0), s, y, statistics);
    TestType::backward_sum(x, x, s, Scalar(1), gamma, statistics, dx, dr, dgamma, dbeta);
    CHECK(all_zero(dgamma));
    CHECK(all_zero(dbeta));
  }
}

TEMPLATE_TEST_CASE("add norms: shapes that disagree and views that overlap throw, and nothing is written", "",
                   laws::LayerNormOf<float>, laws::RMSNormOf<float>) {
  SumCase<TestType> const c(12);
  using M = Matrix<float>;
  M memory = normal<float>(12, 3 * uneven_samples, 807), before = memory;
  M s(12, uneven_samples), y(12, uneven_samples), narrow(12, uneven_samples - 1), low(11, uneven_samples);
  auto const x = memory.leftCols(uneven_samples);
  auto const beside = memory.middleCols(1, uneven_samples);  // shares all but one of x's columns
  auto const call = [&](auto const& from, auto const& residual, auto&& kept, auto&& out) {
    TestType::forward_sum(from, c.alpha, residual, c.gamma, c.beta, c.eps, kept, out);
  };
  CHECK_THROWS_WITH(call(c.x, narrow, s, y), Catch::Contains("x, r") && Catch::Contains("12x11 vs 12x10"));
  CHECK_THROWS_WITH(call(c.x, c.r, narrow, y), Catch::Contains("x, s") && Catch::Contains("12x10"));
  CHECK_THROWS_WITH(call(c.x, c.r, s, low), Catch::Contains("x, y") && Catch::Contains("11x11"));
  CHECK_THROWS_AS(call(x, c.r, beside, y), std::invalid_argument);
  CHECK_THROWS_AS(call(c.x, x, beside, y), std::invalid_argument);
  CHECK_THROWS_AS(call(x, c.r, s, beside), std::invalid_argument);
  CHECK_THROWS_AS(call(c.x, x, s, beside), std::invalid_argument);
  CHECK_THROWS_AS(call(c.x, c.r, x, beside), std::invalid_argument);
  CHECK_THROWS_AS(call(c.x, c.r, x, x), std::invalid_argument);
  auto const gain = memory.col(2), shift = memory.col(3);
  CHECK_THROWS_AS(TestType::forward_sum(c.x, c.alpha, c.r, gain, c.beta, c.eps, x, y), std::invalid_argument);
  CHECK_THROWS_AS(TestType::forward_sum(c.x, c.alpha, c.r, c.gamma, shift, c.eps, x, y), std::invalid_argument);
  CHECK_THROWS_AS(TestType::forward_sum(c.x, c.alpha, c.r, gain, c.beta, c.eps, none, x), std::invalid_argument);
  CHECK_THROWS_AS(TestType::forward_sum(c.x, c.alpha, c.r, c.gamma, c.beta, -1.0f, x, y), std::invalid_argument);
  CHECK(same_bits(memory, before));
}

TEMPLATE_TEST_CASE("add norms: dx, dr, dgamma and dbeta are the derivatives of the forward", "",
                   laws::LayerNormOf<double>, laws::RMSNormOf<double>) {
  for (Index n : {2, 5, 12}) {
    for (Accuracy accuracy : both_modes) {
      INFO("n " << n);
      SumCase<TestType> c(n);
      c.x = normal<double>(n, 2, 808, 0.5);
      c.r = normal<double>(n, 2, 809);
      c.dy = normal<double>(n, 2, 810);
      c.ds = normal<double>(n, 2, 811);
      c.eps = 0.1;  // large beside the step, so that the higher derivatives stay of order 1
      Matrix<double> s(n, 2), y(n, 2), dx(n, 2), dr(n, 2);
      Vector<double> dgamma(n), dbeta(n);
      NormStatistics<double> statistics;
      auto const forward = [&] {
        TestType::forward_sum(c.x, c.alpha, c.r, c.gamma, c.beta, c.eps, s, y, statistics, accuracy);
      };
      auto const loss = [&] {
        forward();
        return dot(c.dy, y) + dot(c.ds, s);
      };
      forward();
      TestType::backward_sum(c.dy, c.ds, s, c.alpha, c.gamma, statistics, dx, dr, dgamma, dbeta,
                             BackwardOptions{accuracy});
      for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j < 2; ++j) {
          CHECK(std::abs(dx(i, j) - partial(c.x(i, j), loss)) <= difference_tolerance);
          CHECK(std::abs(dr(i, j) - partial(c.r(i, j), loss)) <= difference_tolerance);
        }
        CHECK(std::abs(dgamma[i] - partial(c.gamma[i], loss)) <= difference_tolerance);
        CHECK(std::abs(dbeta[i] - partial(c.beta[i], loss)) <= difference_tolerance);
      }
    }
  }
}

TEMPLATE_TEST_CASE("add norms: the backward adds ds and scales dr, wanted or not, wherever they lie", "",
                   FOLDNORM_SUM_NORMS) {
  using Scalar = typename TestType::Scalar;
  using M = Matrix<Scalar>;
  using C = Compute<Scalar>;
  for (Index n : widths) {
    SumCase<TestType> const c(n);
    for (Accuracy accuracy : both_modes) {
      INFO("n " << n << ", accurate " << (accuracy == Accuracy::accurate));
      BackwardOptions const options{accuracy};
      M s(n, uneven_samples), y(n, uneven_samples);
      NormStatistics<Scalar> statistics;
      TestType::forward_sum(c.x, c.alpha, c.r, c.gamma, c.beta, c.eps, s, y, statistics, accuracy);
      M plain(n, uneven_samples), dx(n, uneven_samples), dr(n, uneven_samples);
      Vector<Scalar> plain_dgamma(n), plain_dbeta(n), dgamma(n), dbeta(n);
      TestType::backward(c.dy, s, c.gamma, statistics, plain, plain_dgamma, plain_dbeta, options);
      auto const same_parameters = [&] { return same_bits(dgamma, plain_dgamma) && same_bits(dbeta, plain_dbeta); };

      TestType::backward_sum(c.dy, none, s, c.alpha, c.gamma, statistics, dx, none, dgamma, dbeta, options);
      CHECK(same_bits(dx, plain));
      CHECK(same_parameters());
      TestType::backward_sum(c.dy, c.ds, s, c.alpha, c.gamma, statistics, dx, dr, dgamma, dbeta, options);
      CHECK(same_parameters());
      // ds is added before the one rounding of half; dr is scaled before it as well. Two roundings of float's size.
      Worst worst_dx, worst_dr;
      for (Index k = 0; k < dx.size(); ++k) {
        Wide const norm_part = static_cast<Wide>(plain(k)), upstream = static_cast<Wide>(c.ds(k));
        Wide const storage = std::is_same_v<Scalar, C> ? 0 : Wide(0x1p-11L) * std::abs(norm_part) + smallest<Scalar>;
        Wide const unit = 2 * unit_roundoff<Scalar> * (std::abs(norm_part) + std::abs(upstream)) + 2 * smallest<Scalar>;
        worst_dx.see(error_before_storing(dx(k), norm_part + upstream), unit + storage);
        Wide const dx_error = std::is_same_v<Scalar, C> ? 0 : Wide(0x1p-11L) * std::abs(static_cast<Wide>(dx(k)));
        worst_dr.see(error_before_storing(dr(k), Wide(c.alpha) * static_cast<Wide>(dx(k))),
                     unit + Wide(c.alpha) * dx_error);
      }
      CHECK(worst_dx.value() <= 1);
      CHECK(worst_dr.value() <= 1);

      enum Where { over_dy, over_s, over_ds, apart, nowhere };
      for (bool with_ds : {true, false}) {
        M expected_dx(n, uneven_samples), expected_dr(n, uneven_samples);
        if (with_ds) {
          TestType::backward_sum(c.dy, c.ds, s, c.alpha, c.gamma, statistics, expected_dx, expected_dr, none, none,
                                 options);
        } else {
          TestType::backward_sum(c.dy, none, s, c.alpha, c.gamma, statistics, expected_dx, expected_dr, none, none,
                                 options);
        }
        for (Where dx_to : {over_dy, over_s, over_ds, apart}) {
          for (Where dr_to : {over_dy, over_s, over_ds, apart, nowhere}) {
            if (dx_to == dr_to && dx_to != apart) continue;  // dx and dr lie apart
            if (!with_ds && (dx_to == over_ds || dr_to == over_ds)) continue;
            INFO("ds " << with_ds << ", dx to " << dx_to << ", dr to " << dr_to);
            M dy = c.dy, kept = s, ds = c.ds, own_dx(n, uneven_samples), own_dr(n, uneven_samples);
            auto const place = [&](Where where, M& own) -> M& {
              return where == over_dy ? dy : where == over_s ? kept : where == over_ds ? ds : own;
            };
            M& dx_out = place(dx_to, own_dx);
            M& dr_out = place(dr_to, own_dr);
            auto const run = [&](auto const& upstream, auto&& residual) {
              TestType::backward_sum(dy, upstream, kept, c.alpha, c.gamma, statistics, dx_out, residual, dgamma, dbeta,
                                     options);
            };
            if (with_ds) {
              dr_to == nowhere ? run(ds, none) : run(ds, dr_out);
            } else {
              dr_to == nowhere ? run(none, none) : run(none, dr_out);
            }
            CHECK(same_bits(dx_out, expected_dx));
            if (dr_to != nowhere) CHECK(same_bits(dr_out, expected_dr));
            CHECK(same_parameters());
          }
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("add norms: the backward refuses add_to_dx, other shapes and partial overlap, and writes nothing",
                   "", laws::LayerNormOf<float>, laws::RMSNormOf<float>) {
  using M = Matrix<float>;
  Index const n = 12;
  SumCase<TestType> const c(n);
  M s(n, uneven_samples), y(n, uneven_samples), narrow(n, uneven_samples - 1);
  NormStatistics<float> statistics;
  TestType::forward_sum(c.x, c.alpha, c.r, c.gamma, c.beta, c.eps, s, y, statistics);
  M memory = normal<float>(n, 3 * uneven_samples, 812), before = memory, dx(n, uneven_samples), dr(n, uneven_samples);
  auto const view = memory.leftCols(uneven_samples);
  auto const beside = memory.middleCols(1, uneven_samples);
  auto const run = [&](auto const& dy, auto const& ds, auto const& sum, auto&& to_dx, auto&& to_dr,
                       foldnorm::OptionalOutput<float> const& dgamma, BackwardOptions const& options = {}) {
    TestType::backward_sum(dy, ds, sum, c.alpha, c.gamma, statistics, to_dx, to_dr, dgamma, none, options);
  };
  CHECK_THROWS_WITH(run(c.dy, c.ds, s, view, dr, none, {.add_to_dx = true}), Catch::Contains("add_to_dx"));
  CHECK_THROWS_WITH(run(c.dy, narrow, s, view, dr, none),
                    Catch::Contains("dy, ds") && Catch::Contains("12x11 vs 12x10"));
  CHECK_THROWS_WITH(run(c.dy, c.ds, s, view, narrow, none), Catch::Contains("dy, dr"));
  CHECK_THROWS_AS(run(beside, c.ds, s, view, dr, none), std::invalid_argument);
  CHECK_THROWS_AS(run(c.dy, beside, s, view, dr, none), std::invalid_argument);
  CHECK_THROWS_AS(run(c.dy, c.ds, beside, view, dr, none), std::invalid_argument);
  CHECK_THROWS_AS(run(beside, c.ds, s, dx, view, none), std::invalid_argument);
  CHECK_THROWS_AS(run(c.dy, beside, s, dx, view, none), std::invalid_argument);
  CHECK_THROWS_AS(run(c.dy, c.ds, beside, dx, view, none), std::invalid_argument);
  CHECK_THROWS_AS(run(c.dy, c.ds, s, beside, view, none), std::invalid_argument);
  CHECK_THROWS_AS(run(c.dy, c.ds, s, view, view, none), std::invalid_argument);
  CHECK_THROWS_AS(run(c.dy, c.ds, s, dx, view, memory.col(3)), std::invalid_argument);
  CHECK_THROWS_AS(run(c.dy, c.ds, s, view, dr, memory.col(3)), std::invalid_argument);
  CHECK(same_bits(memory, before));
}
