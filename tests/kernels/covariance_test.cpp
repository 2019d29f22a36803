// SPDX-License-Identifier: MIT
#include <foldnorm/kernels/covariance.hpp>

#include <algorithm>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "catch.hpp"
#include "laws/inputs.hpp"

namespace {

using namespace foldnorm;
using laws::normal;
using Wide = long double;
using WideMatrix = Eigen::Matrix<Wide, Eigen::Dynamic, Eigen::Dynamic>;

// Features that depend on each other, with means of about `mean`.
template <class Scalar>
Matrix<Scalar> batch(Index d, Index m, unsigned seed, double mean = 1) {
  Matrix<Scalar> const mix = normal<Scalar>(d, d, seed);
  return (mix * normal<Scalar>(d, m, seed + 1)).array() + static_cast<Scalar>(mean);
}

WideMatrix wide_scatter(WideMatrix const& x) {
  WideMatrix const centered = x.colwise() - x.rowwise().mean();
  return centered * centered.transpose();
}

double relative(Matrix<double> const& a, Matrix<double> const& reference) {
  return (a - reference).norm() / reference.norm();
}

}  // namespace

TEMPLATE_TEST_CASE("covariance: statistics to rounding, at every mean", "", float, double) {
  using Scalar = TestType;
  double const u = static_cast<double>(std::numeric_limits<Scalar>::epsilon()) / 2;
  for (double const mean : {0.0, 1.0, 1e3, 1e5}) {
    for (auto const& [d, m] : {std::pair<Index, Index>{1, 50}, {7, 3}, {33, 2500}, {130, 70}}) {
      Matrix<Scalar> const x = batch<Scalar>(d, m, 700, mean);
      BatchStatistics const s = batch_statistics(x);
      CHECK(s.count == static_cast<double>(m));
      Matrix<double> const expected = wide_scatter(x.template cast<Wide>()).template cast<double>();
      INFO("mean " << mean << ", " << d << " x " << m);
      CHECK(relative(s.scatter, expected) <= 16 * u);
      CHECK((s.scatter - s.scatter.transpose()).norm() == 0);
      Matrix<Wide> const wide_mean = x.template cast<Wide>().rowwise().mean();
      // sums of doubles about the first sample, which lies within 10 deviations of the mean
      CHECK((s.mean - wide_mean.template cast<double>()).cwiseAbs().maxCoeff() <= 1e-15 * (mean + 300));
    }
  }
}

TEST_CASE("covariance: merging the parts of any partition gives the whole") {
  std::mt19937 random(711);
  for (int trial = 0; trial < 50; ++trial) {
    Index const d = 1 + Index(random() % 20), m = 1 + Index(random() % 300);
    Matrix<double> const x = batch<double>(d, m, 712 + unsigned(trial), 3);
    BatchStatistics const whole = batch_statistics(x);
    std::vector<BatchStatistics> parts;
    for (Index begin = 0; begin < m;) {
      Index const n = std::min(m - begin, Index(random() % 40));  // parts may be empty
      parts.push_back(batch_statistics(x.middleCols(begin, n)));
      begin += n;
    }
    std::shuffle(parts.begin(), parts.end(), random);
    while (parts.size() > 1) {  // as a random tree
      std::size_t const at = random() % (parts.size() - 1);
      parts[at] = merge(parts[at], parts[at + 1]);
      parts.erase(parts.begin() + std::ptrdiff_t(at) + 1);
    }
    CHECK(parts[0].count == whole.count);
    CHECK((parts[0].mean - whole.mean).norm() <= 1e-13 * (1 + whole.mean.norm()));
    if (m > 1) CHECK(relative(parts[0].scatter, whole.scatter) <= 1e-13);
  }
}

TEST_CASE("covariance: sums over machines give the whole") {
  Matrix<double> const x = batch<double>(6, 50, 731, 3);
  BatchStatistics const whole = batch_statistics(x);
  std::vector<BatchStatistics> const own{batch_statistics(x.leftCols(7)), batch_statistics(x.middleCols(7, 0)),
                                         batch_statistics(x.rightCols(43))};
  // Three machines in lockstep: each call's contributions are found by running the others up to it.
  std::vector<std::vector<double>> sums;
  for (std::size_t round = 0; round < 2; ++round) {
    std::vector<double> total;
    for (auto const& statistics : own) {
      std::size_t call = 0;
      merge_over_machines(statistics, [&](std::span<double> values) {
        if (call == round) {
          total.resize(values.size());
          for (std::size_t i = 0; i < values.size(); ++i) total[i] += values[i];
        } else if (call < round) {
          std::copy(sums[call].begin(), sums[call].end(), values.begin());
        }
        ++call;
      });
    }
    sums.push_back(total);
  }
  std::size_t call = 0;
  BatchStatistics const all = merge_over_machines(own[0], [&](std::span<double> values) {
    std::copy(sums[call].begin(), sums[call].end(), values.begin());
    ++call;
  });
  CHECK(call == 2);
  CHECK(all.count == whole.count);
  CHECK(relative(all.scatter, whole.scatter) <= 1e-13);
  CHECK((all.mean - whole.mean).norm() <= 1e-13 * whole.mean.norm());
}

TEMPLATE_TEST_CASE("covariance: equal samples have a scatter of exactly 0", "", float, double) {
  for (TestType const value : {TestType(1) / 3, TestType(1e8), TestType(1e30), TestType(1e-30)}) {
    for (Index const m : {1, 3, 7, 1000}) {
      BatchStatistics const s = batch_statistics(Matrix<TestType>::Constant(5, m, value));
      CHECK(s.mean == Vector<double>::Constant(5, double(value)));
      CHECK(s.scatter == Matrix<double>::Zero(5, 5));
    }
  }
}

TEST_CASE("covariance: divisors and regularizations") {
  Matrix<double> const x = batch<double>(4, 10, 741);
  BatchStatistics const s = batch_statistics(x);
  Matrix<double> const identity = Matrix<double>::Identity(4, 4);
  Matrix<double> const sigma0 = s.scatter / 9;
  CHECK(relative(covariance(s, {1, 0}), sigma0) <= 1e-15);
  CHECK(relative(covariance(s, {0, .1}), s.scatter / 10 + .1 * identity) <= 1e-15);
  CHECK(relative(covariance(s, {1, .1, Regularization::relative}), sigma0 + .1 * sigma0.trace() / 4 * identity) <=
        1e-15);
  CHECK(relative(covariance(s, {1, .1, Regularization::shrinkage}), .9 * sigma0 + .1 * identity) <= 1e-15);
  CHECK(covariance(batch_statistics(x.leftCols(1)), {1, 0}) == Matrix<double>::Zero(4, 4));
  CHECK(covariance(batch_statistics(x.leftCols(0)), {0, 0}) == Matrix<double>::Zero(4, 4));
  CHECK(covariance(batch_statistics(x.topRows(0)), {0, .1, Regularization::relative}).size() == 0);
}

TEST_CASE("covariance: mistakes throw, bad values stay with their feature") {
  BatchStatistics const s = batch_statistics(batch<double>(3, 9, 751));
  CHECK_THROWS_AS(covariance(s, {0, -1e-5}), std::invalid_argument);
  CHECK_THROWS_AS(covariance(s, {2, 0}), std::invalid_argument);
  CHECK_THROWS_AS(covariance(s, {0, 1, Regularization::shrinkage}), std::invalid_argument);
  CHECK_THROWS_AS(merge(s, batch_statistics(batch<double>(4, 9, 752))), shape_error);
  Matrix<double> x = batch<double>(3, 9, 751);
  x(1, 4) = std::numeric_limits<double>::quiet_NaN();
  BatchStatistics const bad = batch_statistics(x);
  CHECK(bad.scatter.row(1).array().isNaN().all());
  CHECK(bad.scatter(0, 0) == s.scatter(0, 0));
  CHECK(bad.scatter(2, 0) == s.scatter(2, 0));
}
