// SPDX-License-Identifier: MIT
// gamma and beta per feature and column (modulated norms): each column is a call with its own parameters.
#include <string>
#include <type_traits>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/tiers.hpp"

namespace {

using namespace laws;
using foldnorm::BackwardOptions;

constexpr float column_eps = 1e-5f;

// Short and long paths; columns that do not fill a block, and more of them than a slice of dgamma's sums has (256).
struct ColumnShape {
  Index n, m;
};
constexpr ColumnShape column_shapes[] = {{1, 5}, {5, 300}, {8, 11}, {16, 300}, {23, 11}, {64, 19}, {100, 11}, {300, 3}};

struct Inputs {
  Matrix<float> x, dy, gamma, beta;
  Vector<float> one_gamma, one_beta;
  explicit Inputs(ColumnShape s)
      : x(normal<float>(s.n, s.m, 1101, 1)),
        dy(normal<float>(s.n, s.m, 1102)),
        gamma(normal<float>(s.n, s.m, 1103, 1, 0.3)),
        beta(normal<float>(s.n, s.m, 1104)),
        one_gamma(gamma.col(0)),
        one_beta(beta.col(0)) {
    if (s.m > 9) x.col(9) *= 1e30f;  // leaves the fast mode's range
    x.col(2).setConstant(7);
  }
};

template <class Norm>
struct OneColumn {
  Vector<float> dx, dgamma, dbeta;
  OneColumn(Vector<float> const& dy, Vector<float> const& x, Vector<float> const& gamma, Accuracy accuracy)
      : dx(x.size()), dgamma(x.size()), dbeta(x.size()) {
    Vector<float> y(x.size());
    NormStatistics<float> statistics;
    Norm::forward(x, gamma, none, column_eps, y, statistics, accuracy);
    Norm::backward(dy, x, gamma, statistics, dx, dgamma, dbeta, BackwardOptions{accuracy});
  }
};

}  // namespace

TEMPLATE_TEST_CASE("norms: gamma and beta per column give each column what vectors would", "", LayerNormOf<float>,
                   RMSNormOf<float>) {
  for (ColumnShape shape : column_shapes) {
    Inputs const in(shape);
    for (Accuracy accuracy : both_modes) {
      INFO(shape.n << "x" << shape.m << ", accurate " << (accuracy == Accuracy::accurate));
      Matrix<float> const y = TestType::forward(in.x, in.gamma, in.beta, column_eps, accuracy);
      Matrix<float> const mixed = TestType::forward(in.x, in.gamma, in.one_beta, column_eps, accuracy);
      for (Index j = 0; j < shape.m; ++j) {
        INFO("column " << j);
        Vector<float> const x = in.x.col(j), gamma = in.gamma.col(j), beta = in.beta.col(j);
        CHECK(same_bits(y.col(j), TestType::forward(x, gamma, beta, column_eps, accuracy)));
        CHECK(same_bits(mixed.col(j), TestType::forward(x, gamma, in.one_beta, column_eps, accuracy)));
      }
      Matrix<float> tall(shape.n + 2, shape.m);  // strided parameters, in place
      tall.middleRows(1, shape.n) = in.gamma;
      Matrix<float> in_place = in.x;
      TestType::forward(in_place, tall.middleRows(1, shape.n), in.beta, column_eps, in_place, accuracy);
      CHECK(same_bits(in_place, y));
    }
  }
}

TEMPLATE_TEST_CASE(
    "norms: gradients of parameters per column are the terms of each column, those of vectors their sums", "",
    LayerNormOf<float>, RMSNormOf<float>) {
  for (ColumnShape shape : column_shapes) {
    Inputs const in(shape);
    Index const n = shape.n, m = shape.m;
    for (Accuracy accuracy : both_modes) {
      INFO(n << "x" << m << ", accurate " << (accuracy == Accuracy::accurate));
      Matrix<float> y(n, m), dx(n, m), dgamma(n, m), dbeta(n, m);
      NormStatistics<float> statistics;
      TestType::forward(in.x, in.gamma, in.beta, column_eps, y, statistics, accuracy);
      TestType::backward(in.dy, in.x, in.gamma, statistics, dx, dgamma, dbeta, BackwardOptions{accuracy});
      for (Index j = 0; j < m; ++j) {
        INFO("column " << j);
        OneColumn<TestType> const one(in.dy.col(j), in.x.col(j), in.gamma.col(j), accuracy);
        CHECK(same_bits(dx.col(j), one.dx));
        CHECK(same_values(dgamma.col(j), one.dgamma));
        CHECK(same_values(dbeta.col(j), in.dy.col(j)));
      }

      // One as a matrix and one as a vector, for a gamma of either kind; and a wanted one alone.
      Matrix<float> again(n, m), terms(n, m);
      Vector<float> sum(n), all_dgamma(n), all_dbeta(n);
      TestType::backward(in.dy, in.x, in.gamma, statistics, again, all_dgamma, all_dbeta, BackwardOptions{accuracy});
      CHECK(same_bits(again, dx));
      TestType::backward(in.dy, in.x, in.gamma, statistics, again, terms, sum, BackwardOptions{accuracy});
      CHECK(same_bits(again, dx));
      CHECK(same_bits(terms, dgamma));
      CHECK(same_bits(sum, all_dbeta));
      TestType::backward(in.dy, in.x, in.gamma, statistics, again, sum, terms, BackwardOptions{accuracy});
      CHECK(same_bits(terms, dbeta));
      CHECK(same_bits(sum, all_dgamma));
      TestType::backward(in.dy, in.x, in.gamma, statistics, again, terms, none, BackwardOptions{accuracy});
      CHECK(same_bits(terms, dgamma));
      TestType::backward(in.dy, in.x, in.gamma, statistics, again, none, terms, BackwardOptions{accuracy});
      CHECK(same_bits(terms, dbeta));
      // xhat does not depend on gamma.
      TestType::backward(in.dy, in.x, in.one_gamma, statistics, again, terms, none, BackwardOptions{accuracy});
      CHECK(same_bits(terms, dgamma));

      Matrix<float> const before = normal<float>(n, m, 1105);
      Matrix<float> tall = normal<float>(n + 1, m, 1106);
      Matrix<float> const tall_before = tall;
      terms = before;
      TestType::backward(in.dy, in.x, in.gamma, statistics, again, terms, tall.topRows(n),
                         BackwardOptions{accuracy, false, true});
      // Rounded once, from terms that accurate mode holds in double.
      CHECK(((terms - before - dgamma).cwiseAbs().array() <=
             2 * 0x1p-24f * (before.cwiseAbs() + 2 * dgamma.cwiseAbs()).array())
                .all());
      CHECK(same_bits(Matrix<float>(tall.topRows(n)), Matrix<float>(tall_before.topRows(n) + dbeta)));
      CHECK(same_bits(Matrix<float>(tall.bottomRows(1)), Matrix<float>(tall_before.bottomRows(1))));
    }
  }
}

TEMPLATE_TEST_CASE("norms: parameters per column of another shape throw shape_error and write nothing", "",
                   LayerNormOf<float>, RMSNormOf<float>) {
  Index const n = 6, m = 4;
  Inputs const in({n, m});
  Matrix<float> const untouched = Matrix<float>::Constant(n, m, 42);
  Matrix<float> y = untouched;
  for (auto [rows, columns] : {std::pair<Index, Index>{n, 1}, {n, m + 1}, {n - 1, m}, {m, n}}) {
    INFO(rows << "x" << columns);
    Matrix<float> const wrong = Matrix<float>::Ones(rows, columns);
    auto const text = std::to_string(rows) + "x" + std::to_string(columns) + " vs 6x4";
    CHECK_THROWS_AS(TestType::forward(in.x, wrong, in.beta, column_eps, y), foldnorm::shape_error);
    CHECK_THROWS_WITH(TestType::forward(in.x, wrong, in.beta, column_eps, y),
                      Catch::Contains("gamma") && Catch::Contains(text));
    CHECK_THROWS_WITH(TestType::forward(in.x, in.gamma, wrong, column_eps, y),
                      Catch::Contains("beta") && Catch::Contains(text));
  }
  CHECK(same_bits(y, untouched));
  NormStatistics<float> statistics;
  Matrix<float> z(n, m), narrow(n, m - 1);
  TestType::forward(in.x, in.gamma, in.beta, column_eps, z, statistics);
  CHECK_THROWS_WITH(TestType::backward(in.dy, in.x, in.gamma, statistics, y, narrow, none), Catch::Contains("dgamma"));
  CHECK_THROWS_WITH(TestType::backward(in.dy, in.x, in.gamma, statistics, y, none, narrow), Catch::Contains("dbeta"));
  CHECK_THROWS_WITH(TestType::backward(in.dy, in.x, narrow, statistics, y, none, none), Catch::Contains("gamma"));
  CHECK_THROWS_AS(TestType::forward(in.x, y, in.beta, column_eps, y), std::invalid_argument);
  CHECK_THROWS_AS(TestType::backward(in.dy, in.x, in.gamma, statistics, y, y, none), std::invalid_argument);
  CHECK_THROWS_AS(TestType::backward(in.dy, in.x, in.gamma, statistics, z, y, y), std::invalid_argument);
  CHECK(same_bits(y, untouched));
}
