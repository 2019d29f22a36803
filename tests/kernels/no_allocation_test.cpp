// SPDX-License-Identifier: MIT
// Calls allocate nothing once they have seen a shape.
#include "laws/allocations.hpp"

#include <foldnorm/kernels/add_norm.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/parallel_layer_norm.hpp>

#include <vector>

#include "catch.hpp"

namespace {

using namespace foldnorm;
using laws::allocations_of;

// On matrices, on blocks and on maps; the first call of each shape may allocate statistics and workspace.
template <class Call>
void check_steady(Call call) {
  for (Index n : {5, 16, 100}) {
    INFO("n " << n);
    Index const m = 300;  // more than one slice of dgamma's sums
    Matrix<float> x = Matrix<float>::Random(n, m), r = Matrix<float>::Random(n, m), y(n, m);
    call(x, r, y);
    CHECK(allocations_of([&] { call(x, r, y); }) == 0);
    CHECK(allocations_of([&] { call(x.leftCols(m - 1), r.rightCols(m - 1), y.middleCols(1, m - 1)); }) == 0);
    using Map = Eigen::Map<Matrix<float>>;
    Map const x_map(x.data(), n, m), r_map(r.data(), n, m);
    Map y_map(y.data(), n, m);
    CHECK(allocations_of([&] { call(x_map, r_map, y_map); }) == 0);
  }
}

constexpr Accuracy both_modes[] = {Accuracy::fast, Accuracy::accurate};

}  // namespace

TEST_CASE("allocations are seen: a vector's, and a matrix's") {
  // Used afterwards: memory that nobody sees a compiler may do without (clang++ 14 does for AVX-512).
  std::vector<int> v;
  Matrix<float> m;
  CHECK(allocations_of([&] { v.resize(100); }) > 0);
  CHECK(allocations_of([&] { m.resize(30, 30); }) > 0);
  CHECK(v.data() != nullptr);
  CHECK(m.data() != nullptr);
}

TEST_CASE("norms: the forward allocates nothing, with statistics nothing after its first call") {
  Vector<float> const gamma = Vector<float>::Ones(100), beta = gamma;
  NormStatistics<float> statistics;
  for (Accuracy accuracy : both_modes) {
    check_steady([&](auto const& x, auto const&, auto&& y) {
      auto const gain = gamma.head(x.rows()), shift = beta.head(x.rows());
      layer_norm(x, gain, shift, 1e-5f, y, accuracy);
      layer_norm(x, gain, shift, 1e-5f, y, statistics, accuracy);
    });
  }
  Matrix<float> x = Matrix<float>::Random(100, 300), y(100, 300);
  CHECK(allocations_of([&] { layer_norm(x, gamma, beta, 1e-5f, y); }) == 0);  // not even the first time
}

TEST_CASE("norms: the backward with a workspace allocates nothing after its first call") {
  Vector<float> const gamma = Vector<float>::Ones(100), beta = gamma;
  Vector<float> dgamma(100), dbeta(100);
  NormWorkspace workspace;
  for (Accuracy accuracy : both_modes) {
    NormStatistics<float> statistics;
    check_steady([&](auto const& x, auto const& dy, auto&& dx) {
      auto const gain = gamma.head(x.rows());
      layer_norm(x, gain, beta.head(x.rows()), 1e-5f, dx, statistics, accuracy);
      layer_norm_backward(dy, x, gain, statistics, dx, dgamma.head(x.rows()), dbeta.head(x.rows()),
                          {.accuracy = accuracy, .workspace = &workspace});
    });
  }
}

TEST_CASE("add norms and parallel norms allocate nothing after their first call") {
  Vector<float> const gamma = Vector<float>::Ones(100), beta = gamma;
  Vector<float> dgamma(100), dbeta(100);
  NormWorkspace workspace;
  NormStatistics<float> statistics;
  check_steady([&](auto const& x, auto const& r, auto&& y) {
    auto const gain = gamma.head(x.rows()), shift = beta.head(x.rows());
    add_layer_norm(x, 0.0f, r, gain, shift, 1e-5f, none, y);
    parallel_layer_norm(x, x.rows() == 5 ? 5 : 4, gain, shift, 1e-5f, y, statistics);
    parallel_layer_norm_backward(r, x, gain, statistics, y, dgamma.head(x.rows()), dbeta.head(x.rows()),
                                 {.workspace = &workspace});
  });
}
