// SPDX-License-Identifier: MIT
// What a whitening layer promises: degenerate and bad input, scales, statuses, groups, machines, inference.

#include <cmath>
#include <cstddef>
#include <set>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "catch.hpp"
#include "kernels/spectra.hpp"
#include "laws/inputs.hpp"
#include "whitening/instances.hpp"

namespace {

using namespace foldnorm;
using laws::dependent;
using laws::normal;
using laws::same_bits;

WhiteningOptions with_eps(double eps) { return {.covariance = {.eps = eps}}; }

// Calls use(layer) with every method, for the same options.
template <class Scalar, class Use>
void with_every_method(Index features, WhiteningOptions const& options, Use use) {
  for (IterNormEngine const engine : iter_norm_engines) use(IterNorm<Scalar>(features, options, {5, engine}));
  use(Zca<Scalar>(features, options));
  use(SpectralTransformation<Scalar, InversePower>(features, options, {{.45}}));
  use(Pca<Scalar>(features, options));
  use(CholeskyWhitening<Scalar>(features, options));
}

}  // namespace

TEMPLATE_TEST_CASE("whitening: equal samples and eps 0 are degenerate: y = beta, dx = 0", "", float, double) {
  using Scalar = TestType;
  with_every_method<Scalar>(5, with_eps(0), [](auto layer) {
    layer.beta.setLinSpaced(5, 1, 2);
    for (Index const m : {1, 4, 7}) {
      typename decltype(layer)::Cache cache;
      Matrix<Scalar> const x = Matrix<Scalar>::Constant(5, m, Scalar(1) / 3);
      Matrix<Scalar> y(5, m), dx(5, m);
      WhiteningReport const report = layer.forward(x, y, cache);
      CHECK(report.status == WhiteningStatus::degenerate);
      CHECK(y == layer.beta.replicate(1, m));
      Vector<Scalar> dgamma(5), dbeta(5);
      Matrix<Scalar> const dy = normal<Scalar>(5, m, 1101);
      layer.backward(dy, cache, dx, dgamma, dbeta);
      CHECK(dx == Matrix<Scalar>::Zero(5, m));
      CHECK(dgamma == Vector<Scalar>::Zero(5));
      CHECK((dbeta - dy.rowwise().sum()).norm() <= Scalar(1e-5));
    }
  });
}

TEMPLATE_TEST_CASE("whitening: equal samples with eps > 0, one sample, no samples", "", float, double) {
  using Scalar = TestType;
  for (int const taken : {0, 1}) {
    with_every_method<Scalar>(4, {.covariance = {taken, 1e-5}}, [](auto layer) {
      for (Index const m : {0, 1, 6}) {
        typename decltype(layer)::Cache cache;
        Matrix<Scalar> const x = Matrix<Scalar>::Constant(4, m, Scalar(.1));
        Matrix<Scalar> y = x, dx = x;
        WhiteningReport const report = layer.forward(x, y, cache);
        CHECK(wrote_output(report.status));
        CHECK(y == Matrix<Scalar>::Zero(4, m));
        layer.backward(Matrix<Scalar>::Constant(4, m, 3), cache, dx, none, none);
        CHECK(dx.allFinite());
        CHECK((m == 0 || dx.rowwise().sum().norm() <= Scalar(.1)));
      }
    });
  }
}

TEST_CASE("whitening: no features") {
  with_every_method<double>(0, {}, [](auto layer) {
    typename decltype(layer)::Cache cache;
    Matrix<double> y(0, 5), dx(0, 5);
    CHECK(layer.forward(Matrix<double>(0, 5), y, cache).status == WhiteningStatus::ok);
    CHECK(layer.backward(Matrix<double>(0, 5), cache, dx, none, none) == 0);
    REQUIRE(layer.inference());
    CHECK(layer.inference()->affine_map().matrix.size() == 0);
  });
}

TEMPLATE_TEST_CASE("whitening: NaN and inf are not_finite, and nothing is written", "", float, double) {
  using Scalar = TestType;
  for (Scalar const bad : {laws::not_a_number<Scalar>, laws::infinity<Scalar>, -laws::infinity<Scalar>}) {
    with_every_method<Scalar>(6, {.group_size = 4}, [bad](auto layer) {
      typename decltype(layer)::Cache cache;
      Matrix<Scalar> x = dependent<Scalar>(6, 20, 1111), y = Matrix<Scalar>::Constant(6, 20, 42);
      x(5, 3) = bad;
      CHECK(layer.forward(x, y, cache).status == WhiteningStatus::not_finite);
      CHECK(y == Matrix<Scalar>::Constant(6, 20, 42));
      Matrix<Scalar> dx = y;
      CHECK_THROWS_AS(layer.backward(x, cache, dx, none, none), std::invalid_argument);
      CHECK_THROWS_AS(layer.update_running(cache), std::invalid_argument);
      x(5, 3) = 0;  // the same cache recovers
      CHECK(layer.forward(x, y, cache).status == WhiteningStatus::ok);
      CHECK(y.allFinite());
    });
  }
}

TEMPLATE_TEST_CASE("whitening: no variance in a direction is refused by exact whitenings, and passed by IterNorm", "",
                   float, double) {
  using Scalar = TestType;
  Matrix<Scalar> const x = dependent<Scalar>(6, 4, 1121);  // fewer samples than features
  with_every_method<Scalar>(6, with_eps(0), [&x](auto layer) {
    using Layer = decltype(layer);
    typename Layer::Cache cache;
    Matrix<Scalar> y = Matrix<Scalar>::Constant(6, 4, 42), dx(6, 4);
    WhiteningReport const report = layer.forward(x, y, cache);
    if constexpr (std::is_same_v<Layer, IterNorm<Scalar>>) {
      CHECK(report.status == WhiteningStatus::ok);
      CHECK(y.allFinite());
      CHECK(report.residual > .5);
      layer.backward(dependent<Scalar>(6, 4, 1122), cache, dx, none, none);
      CHECK(dx.allFinite());
    } else {
      CHECK(report.status == WhiteningStatus::not_positive_definite);
      CHECK(y == Matrix<Scalar>::Constant(6, 4, 42));
    }
  });
}

TEMPLATE_TEST_CASE("whitening: scales from the smallest to the largest numbers", "", float, double) {
  using Scalar = TestType;
  bool const is_float = std::is_same_v<Scalar, float>;
  std::vector<double> const scales = is_float ? std::vector<double>{1e-39, 1e-30, 1e-15, 1e-10, 1e10, 1e19, 1e30, 3e36}
                                              : std::vector<double>{1e-140, 1e-30, 1e10, 1e30, 1e150};
  Matrix<Scalar> const x = dependent<Scalar>(5, 40, 1131), g = normal<Scalar>(5, 40, 1132);
  WhiteningOptions const options{.covariance = {0, 1e-3, Regularization::relative}};
  with_every_method<Scalar>(5, options, [&](auto layer) {
    using Layer = decltype(layer);
    if constexpr (!std::is_same_v<Layer, SpectralTransformation<Scalar, InversePower>>) {  // not scale-invariant
      typename Layer::Cache cache;
      Matrix<Scalar> expected(5, 40), y(5, 40), expected_dx(5, 40), dx(5, 40);
      layer.forward(x, expected, cache);
      layer.backward(g, cache, expected_dx, none, none);
      for (double const scale : scales) {
        INFO("scale " << scale);
        CHECK(layer.forward(x * static_cast<Scalar>(scale), y, cache).status == WhiteningStatus::ok);
        Scalar const tolerance = is_float ? Scalar(1e-4) : Scalar(1e-11);
        CHECK((y - expected).cwiseAbs().maxCoeff() <= tolerance);
        if (scale > 1e30 || scale < 1e-15) continue;  // dx itself leaves float
        layer.backward(g, cache, dx, none, none);
        CHECK((dx * static_cast<Scalar>(scale) - expected_dx).norm() <= tolerance * expected_dx.norm());
      }
    }
  });
}

TEST_CASE("whitening: a float's mean far from zero loses what the input has lost, not more") {
  Matrix<double> const x = dependent<double>(8, 300, 1141);
  Matrix<float> const far = (x.array() + 4096).cast<float>();
  Matrix<double> y(8, 300);
  Matrix<float> y_float(8, 300);
  IterNorm<double>::Cache cache;
  IterNorm<double>(8).forward(far.cast<double>(), y, cache);
  IterNorm<float>::Cache float_cache;
  IterNorm<float>(8).forward(far, y_float, float_cache);
  CHECK((y_float.cast<double>() - y).norm() <= 2e-6 * y.norm());
}

TEST_CASE("whitening: float iterations at any condition and number of steps end finite") {
  for (double const smallest : {1e-1, 1e-2, 1e-3, 1e-4, 1e-6}) {  // deviations: conditions 1e2 to 1e12
    Matrix<double> const x =
        Vector<double>::LinSpaced(12, 0, 1).unaryExpr([&](double e) { return std::pow(smallest, e); }).asDiagonal() *
        normal<double>(12, 200, 1151);
    Matrix<double> const rotation = spectra::random_rotation(12, 1152).cast<double>();
    Matrix<float> const mixed = (rotation * x).cast<float>();
    for (int const steps : {5, 10, 20, 50}) {
      for (IterNormEngine const engine : iter_norm_engines) {
        IterNorm<float> const layer(12, with_eps(0), {steps, engine});
        IterNorm<float>::Cache cache;
        Matrix<float> y(12, 200), dx(12, 200);
        WhiteningReport const report = layer.forward(mixed, y, cache);
        INFO("smallest " << smallest << ", steps " << steps << ", " << name(report.status));
        REQUIRE(wrote_output(report.status));
        CHECK(y.allFinite());
        layer.backward(mixed, cache, dx, none, none);
        CHECK(dx.allFinite());
        if (smallest >= 1e-2 && engine != IterNormEngine::newton) CHECK(report.status == WhiteningStatus::ok);
      }
    }
  }
}

TEST_CASE("whitening: pca says when its axes are ambiguous, and a smallest gap keeps its gradient finite") {
  Matrix<double> x = Matrix<double>::Zero(3, 6);
  for (Index i = 0; i < 3; ++i) x(i, 2 * i) = 1.3, x(i, 2 * i + 1) = -1.3;
  Pca<double> const layer(3, with_eps(0), {.smallest_gap = 1e-3});
  Pca<double>::Cache cache;
  Matrix<double> y(3, 6), dx(3, 6);
  CHECK(layer.forward(x, y, cache).status == WhiteningStatus::ambiguous);
  CHECK((y * y.transpose() / 6 - Matrix<double>::Identity(3, 3)).norm() <= 1e-14);
  layer.backward(normal<double>(3, 6, 1161), cache, dx, none, none);
  CHECK(dx.allFinite());
}

TEST_CASE("whitening: exact ones whiten") {
  Matrix<double> const x = dependent<double>(7, 60, 1171);
  for (int const taken : {0, 1}) {
    with_every_method<double>(7, {.covariance = {taken, 0}, .group_size = 4}, [&](auto layer) {
      using Layer = decltype(layer);
      typename Layer::Cache cache;
      Matrix<double> y(7, 60);
      WhiteningReport const report = layer.forward(x, y, cache);
      Matrix<double> const covariance = y * y.transpose() / (60 - taken);
      for (auto const& [begin, d] : {std::pair<Index, Index>{0, 4}, {4, 3}}) {
        double const off = (covariance.block(begin, begin, d, d) - Matrix<double>::Identity(d, d)).norm();
        if constexpr (std::is_same_v<Layer, Zca<double>> || std::is_same_v<Layer, Pca<double>> ||
                      std::is_same_v<Layer, CholeskyWhitening<double>>) {
          CHECK(off <= 1e-12);
          CHECK(report.residual <= 1e-12);
        } else {
          CHECK(off / std::sqrt(static_cast<double>(d)) <= report.residual + 1e-12);  // the worst group's is reported
        }
      }
      CHECK(y.rowwise().mean().norm() <= 1e-13);
    });
  }
}

TEMPLATE_TEST_CASE("whitening: groups are layers of their own, the last one smaller", "", float, double) {
  using Scalar = TestType;
  Matrix<Scalar> const x = dependent<Scalar>(10, 50, 1181), g = normal<Scalar>(10, 50, 1182);
  with_every_method<Scalar>(10, {.group_size = 4}, [&](auto layer) {
    using Layer = decltype(layer);
    layer.gamma = normal<Scalar>(10, 1, 1183, 1, .2);
    layer.beta = normal<Scalar>(10, 1, 1184);
    typename Layer::Cache cache;
    Matrix<Scalar> y(10, 50), dx(10, 50);
    layer.forward(x, y, cache);
    layer.backward(g, cache, dx, none, none);
    for (auto const& [begin, d] : {std::pair<Index, Index>{0, 4}, {4, 4}, {8, 2}}) {
      Layer part(d, {}, layer.method());
      part.gamma = layer.gamma.segment(begin, d);
      part.beta = layer.beta.segment(begin, d);
      typename Layer::Cache part_cache;
      Matrix<Scalar> part_y(d, 50), part_dx(d, 50);
      part.forward(x.middleRows(begin, d), part_y, part_cache);
      part.backward(g.middleRows(begin, d), part_cache, part_dx, none, none);
      Scalar const tolerance = std::is_same_v<Scalar, float> ? Scalar(1e-5) : Scalar(1e-13);
      CHECK((part_y - y.middleRows(begin, d)).norm() <= tolerance * y.norm());
      CHECK((part_dx - dx.middleRows(begin, d)).norm() <= tolerance * dx.norm());
    }
  });
}

TEST_CASE("whitening: in place, on blocks and row-major, the same; caches serve other shapes in turn") {
  Matrix<double> const x = dependent<double>(6, 30, 1191);
  IterNorm<double> const layer(6, {.group_size = 4});
  IterNorm<double>::Cache cache;
  Matrix<double> y(6, 30);
  layer.forward(x.leftCols(11), y.leftCols(11), cache);
  layer.forward(x, y, cache);
  Matrix<double> in_place = x;
  layer.forward(in_place, in_place, cache);
  CHECK(same_bits(in_place, y));
  Matrix<double> memory = Matrix<double>::Constant(9, 33, 42);
  memory.block(2, 1, 6, 30) = x;
  layer.forward(memory.block(2, 1, 6, 30), memory.block(2, 1, 6, 30), cache);
  CHECK(same_bits(memory.block(2, 1, 6, 30), y));
  memory.block(2, 1, 6, 30).setConstant(42);
  CHECK(same_bits(memory, Matrix<double>::Constant(9, 33, 42)));
  Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> const row_major = x;
  Matrix<double> from_rows(6, 30);
  layer.forward(row_major, from_rows, cache);
  CHECK(same_bits(from_rows, y));
}

TEST_CASE("whitening: mistakes throw before anything is written") {
  CHECK_THROWS_AS(IterNorm<double>(4, {}, {-1}), std::invalid_argument);
  CHECK_THROWS_AS(IterNorm<double>(4, with_eps(-1)), std::invalid_argument);
  CHECK_THROWS_AS(IterNorm<double>(4, with_eps(std::nan(""))), std::invalid_argument);
  CHECK_THROWS_AS(IterNorm<double>(4, {.group_size = -2}), std::invalid_argument);
  CHECK_THROWS_AS(IterNorm<double>(4, {.momentum = 1.5}), std::invalid_argument);
  CHECK_THROWS_AS(Pca<double>(4, {}, {.smallest_gap = -1}), std::invalid_argument);
  IterNorm<double> layer(4);
  IterNorm<double>::Cache cache;
  Matrix<double> const x = dependent<double>(4, 9, 1201);
  Matrix<double> y = Matrix<double>::Constant(4, 9, 42), narrow(4, 8);
  CHECK_THROWS_WITH(layer.forward(x, narrow, cache), "Whitening::forward: x, y: 4x9 vs 4x8");
  CHECK_THROWS_WITH(layer.forward(x.topRows(3), narrow, cache),
                    "Whitening::forward: features of x: size 3, expected 4");
  CHECK_THROWS_AS(layer.backward(x, cache, y, none, none), std::invalid_argument);
  layer.forward(x, y, cache);
  CHECK_THROWS_AS(layer.backward(x.leftCols(8), cache, narrow, none, none), shape_error);
  CHECK_THROWS_AS(layer.backward(y, cache, y, none, none), std::invalid_argument);
  Vector<double> three(3);
  CHECK_THROWS_AS(layer.backward(x, cache, y, three, none), shape_error);
  layer.gamma.resize(3);
  CHECK_THROWS_AS(layer.forward(x, y, cache), shape_error);
}

TEST_CASE("whitening: running statistics and inference") {
  Matrix<double> const x = dependent<double>(7, 400, 1211), g = normal<double>(7, 400, 1212);
  for (auto const running : {RunningStatistics::whitener, RunningStatistics::covariance}) {
    with_every_method<double>(7, {.covariance = {1, 1e-3}, .group_size = 4, .running = running, .momentum = 1},
                              [&](auto layer) {
                                layer.gamma = normal<double>(7, 1, 1213, 1, .2);
                                layer.beta = normal<double>(7, 1, 1214);
                                typename decltype(layer)::Cache cache;
                                Matrix<double> y(7, 400), y_inference(7, 400), dx(7, 400);
                                layer.forward(x, y, cache);
                                layer.update_running(cache);  // momentum 1: the batch's own
                                auto const inference = layer.inference();
                                REQUIRE(inference);
                                inference->forward(x, y_inference);
                                CHECK((y_inference - y).cwiseAbs().maxCoeff() <= 1e-12);
                                auto const map = inference->affine_map();
                                CHECK(((map.matrix * x).colwise() + map.bias - y).cwiseAbs().maxCoeff() <= 1e-12);
                                CHECK(map.matrix.block(0, 4, 4, 3).norm() == 0);
                                inference->backward(g, dx);
                                CHECK((dx - map.matrix.transpose() * g).norm() <= 1e-13 * dx.norm());
                                Matrix<double> in_place = x;
                                inference->forward(in_place, in_place);
                                CHECK(same_bits(in_place, y_inference));
                              });
  }
}

TEST_CASE("whitening: running statistics are a moving average, and skip what is degenerate") {
  IterNorm<double> layer(3, {.covariance = {0, 0}, .running = RunningStatistics::covariance, .momentum = .25});
  IterNorm<double>::Cache cache;
  Matrix<double> const x = dependent<double>(3, 20, 1221);
  Matrix<double> y(3, 20);
  layer.forward(x, y, cache);
  layer.update_running(cache);
  BatchStatistics const s = batch_statistics(x);
  Matrix<double> const expected = .25 * s.scatter / 20 + .75 * Matrix<double>::Identity(3, 3);
  CHECK((layer.running_matrices()[0] - expected).norm() <= 1e-14);
  CHECK((layer.running_mean() - .25 * s.mean).norm() <= 1e-14);
  layer.forward(Matrix<double>::Constant(3, 20, 5), y, cache);
  layer.update_running(cache);
  CHECK((layer.running_matrices()[0] - expected).norm() <= 1e-14);
}

TEST_CASE("whitening: a batch spread over machines gives the result of one") {
  Index const d = 6, m = 41;
  Matrix<double> const x = dependent<double>(d, m, 1231), g = normal<double>(d, m, 1232);
  std::vector<std::pair<Index, Index>> const parts{{0, 10}, {10, 0}, {10, 31}};
  with_every_method<double>(d, {.covariance = {1, 1e-3}, .group_size = 4}, [&](auto layer) {
    using Layer = decltype(layer);
    layer.gamma = normal<double>(d, 1, 1233, 1, .2);
    typename Layer::Cache cache;
    Matrix<double> y(d, m), dx(d, m);
    Vector<double> dgamma(d), dbeta(d);
    layer.forward(x, y, cache);
    double const deps = layer.backward(g, cache, dx, dgamma, dbeta);

    // The machines in lockstep: in pass k all run with the sums of the calls before k, and call k is added up.
    std::vector<std::vector<double>> sums;
    Matrix<double> y_parts(d, m), dx_parts(d, m);
    Vector<double> dgamma_part(d), dbeta_part(d);
    double deps_part = 0;
    for (std::size_t pass = 0; pass <= 4; ++pass) {
      std::vector<double> total;
      for (auto const& [begin, n] : parts) {
        std::size_t call = 0;
        SumOverMachines const sum = [&](std::span<double> values) {
          if (call == pass) {
            total.resize(values.size());
            for (std::size_t i = 0; i < values.size(); ++i) total[i] += values[i];
          } else if (call < pass) {
            REQUIRE(values.size() == sums[call].size());
            std::copy(sums[call].begin(), sums[call].end(), values.begin());
          }
          ++call;
        };
        typename Layer::Cache part;
        if (!wrote_output(layer.forward(x.middleCols(begin, n), y_parts.middleCols(begin, n), part, sum).status)) {
          CHECK(pass < 2);  // a part alone may have no whitener
          continue;
        }
        deps_part =
            layer.backward(g.middleCols(begin, n), part, dx_parts.middleCols(begin, n), dgamma_part, dbeta_part, sum);
        CHECK(call == 4);
      }
      sums.push_back(total);
    }
    CHECK((y_parts - y).cwiseAbs().maxCoeff() <= 1e-12);
    CHECK((dx_parts - dx).cwiseAbs().maxCoeff() <= 1e-12 * (1 + dx.cwiseAbs().maxCoeff()));
    CHECK((dgamma_part - dgamma).norm() <= 1e-12 * (1 + dgamma.norm()));
    CHECK((dbeta_part - dbeta).norm() <= 1e-12 * (1 + dbeta.norm()));
    CHECK(std::abs(deps_part - deps) <= 1e-11 * (1 + std::abs(deps)));
  });
}

TEST_CASE("whitening: every status has a name of its own") {
  std::set<std::string_view> names;
  auto const last = static_cast<int>(WhiteningStatus::not_finite);
  for (int status = 0; status <= last; ++status) names.insert(name(static_cast<WhiteningStatus>(status)));
  CHECK(names.size() == static_cast<std::size_t>(last) + 1);
  CHECK_FALSE(names.contains(""));
}

TEST_CASE("whitening: the cache of a layer with other groups throws before anything is written") {
  IterNorm<double> whole(4), grouped(4, {.group_size = 2});
  IterNorm<double>::Cache cache;
  Matrix<double> const x = dependent<double>(4, 9, 31);
  Matrix<double> y(4, 9), dx = Matrix<double>::Zero(4, 9);
  grouped.forward(x, y, cache);
  Vector<double> const mean = whole.running_mean();
  CHECK_THROWS_AS(whole.update_running(cache), shape_error);
  CHECK_THROWS_AS(whole.backward(x, cache, dx, none, none), shape_error);
  CHECK(whole.running_mean() == mean);
  CHECK(dx.isZero(0));
}

TEST_CASE("whitening: a backward is that of the forward which filled the cache, whatever engine it had") {
  Matrix<double> const x = dependent<double>(5, 12, 32), dy = normal<double>(5, 12, 33);
  for (IterNormEngine const filled_by : iter_norm_engines) {
    for (IterNormEngine const asked : iter_norm_engines) {
      IterNorm<double> const first(5, {}, {3, filled_by}), second(5, {}, {5, asked});
      IterNorm<double>::Cache cache;
      Matrix<double> y(5, 12), dx(5, 12), expected(5, 12);
      first.forward(x, y, cache);
      first.backward(dy, cache, expected, none, none);
      first.forward(x, y, cache);
      second.backward(dy, cache, dx, none, none);
      CHECK(same_bits(dx, expected));
    }
  }
}

TEST_CASE("whitening: gradients of gamma and beta lie apart from all that is read, and from each other") {
  IterNorm<double> layer(4);
  IterNorm<double>::Cache cache;
  Matrix<double> const x = dependent<double>(4, 9, 32);
  Matrix<double> y(4, 9), dy = dependent<double>(4, 9, 33), dx(4, 9);
  Vector<double> dgamma = Vector<double>::Zero(4);
  layer.forward(x, y, cache);
  Matrix<double> const before = dy;
  auto column = dy.col(0), dx_column = dx.col(8);
  CHECK_THROWS_AS(layer.backward(dy, cache, dx, layer.gamma, none), std::invalid_argument);
  CHECK_THROWS_AS(layer.backward(dy, cache, dx, none, layer.beta), std::invalid_argument);
  CHECK_THROWS_AS(layer.backward(dy, cache, dx, dgamma, column), std::invalid_argument);
  CHECK_THROWS_AS(layer.backward(dy, cache, dx, dx_column, none), std::invalid_argument);
  CHECK_THROWS_AS(layer.backward(dy, cache, dx, dgamma, dgamma), std::invalid_argument);
  CHECK(dy == before);
  CHECK(dgamma.isZero(0));
}
