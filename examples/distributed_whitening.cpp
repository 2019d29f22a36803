// SPDX-License-Identifier: MIT
// distributed_whitening.cpp -- IterNorm over a batch that several MPI ranks hold parts of: every rank gets its part of
// what one machine would compute from the whole batch, output and gradient.
//
//   mpirun -np 4 distributed_whitening
//
// Exit status: 0 if all ranks agree with one machine to rounding, 1 if not.
#include <foldnorm/whitening/iter_norm.hpp>

#include "matrix_difference.hpp"

#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <span>

namespace {

using namespace foldnorm;

constexpr Index features = 24, samples = 1000;

// Correlated features with large means, the same on every rank.
Matrix<double> correlated(unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  auto const draw = [&](Index rows, Index columns) {
    return Matrix<double>(Matrix<double>::NullaryExpr(rows, columns, [&] { return normal(random); }));
  };
  Matrix<double> const mix = draw(features, features), sources = draw(features, samples);
  Matrix<double> x = mix * sources;
  x.colwise() += 100 * draw(features, 1).col(0);
  return x;
}

struct Result {
  Matrix<double> y, dx;
  Vector<double> dgamma, dbeta;
  double deps;
};

// `sum` adds over the ranks; without it the samples given are the whole batch.
Result run(Matrix<double> const& x, Matrix<double> const& dy, SumOverMachines const& sum) {
  IterNorm<double> const norm(features, {.group_size = 10});  // groups of 10, 10 and 4
  IterNorm<double>::Cache cache;
  Result r{Matrix<double>(features, x.cols()), Matrix<double>(features, x.cols()), Vector<double>(features),
           Vector<double>(features), 0};
  norm.forward(x, r.y, cache, sum);
  r.deps = norm.backward(dy, cache, r.dx, r.dgamma, r.dbeta, sum);
  return r;
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  MPI_Init(&argument_count, &arguments);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);

  // Uneven parts: rank r holds r + 1 shares.
  Index const shares = Index{ranks} * (ranks + 1) / 2;
  Index const begin = samples * (Index{rank} * (rank + 1) / 2) / shares;
  Index const end = samples * ((Index{rank} + 1) * (rank + 2) / 2) / shares;
  Matrix<double> const x = correlated(1), dy = correlated(2);
  auto const over_ranks = [](std::span<double> values) {
    MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  };
  Result const part = run(x.middleCols(begin, end - begin), dy.middleCols(begin, end - begin), over_ranks);
  Result const whole = run(x, dy, {});

  auto const number = [](double value) { return Vector<double>::Constant(1, value); };
  double worst = std::max({relative_difference(whole.y.middleCols(begin, end - begin), part.y),
                           relative_difference(whole.dx.middleCols(begin, end - begin), part.dx),
                           relative_difference(whole.dgamma, part.dgamma), relative_difference(whole.dbeta, part.dbeta),
                           relative_difference(number(whole.deps), number(part.deps))});
  MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  constexpr double tolerance = 1e-10;  // 4 u of the sums, times a condition of some 1e4 of the covariances
  if (rank == 0) {
    std::printf("%d ranks: output and gradients within %.1e of one machine's (%.0e allowed)\n", ranks, worst,
                tolerance);
  }
  MPI_Finalize();
  return worst <= tolerance ? 0 : 1;
}
