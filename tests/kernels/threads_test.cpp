// SPDX-License-Identifier: MIT
// Which thread works on a column never changes a result. Built with OpenMP, in an executable of its own.
#include <foldnorm/core/parallel.hpp>
#include <foldnorm/kernels/add_norm.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/parallel_layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include <omp.h>

#include <atomic>
#include <thread>

#include "catch.hpp"
#include "laws/inputs.hpp"

#if !defined(_OPENMP)
#error "these tests are about OpenMP: compile them with it"
#endif

namespace {

using namespace laws;
using foldnorm::Accuracy;
using foldnorm::BackwardOptions;
using foldnorm::none;
using foldnorm::NormStatistics;

constexpr int thread_counts[] = {1, 2, 3, 7};

struct Threads {
  explicit Threads(int count) { Eigen::setNbThreads(count); }
  ~Threads() { Eigen::setNbThreads(0); }
};

template <class Scalar>
struct Results {
  Matrix<Scalar> y, dx;
  Vector<Scalar> dgamma, dbeta;
  std::vector<double> statistics;

  friend bool operator==(Results const& a, Results const& b) {
    return same_bits(a.y, b.y) && same_bits(a.dx, b.dx) && same_bits(a.dgamma, b.dgamma) &&
           same_bits(a.dbeta, b.dbeta) && a.statistics == b.statistics;
  }
};

template <class Scalar>
struct Inputs {
  Matrix<Scalar> x, dy;
  Vector<Scalar> gamma, beta;
  Inputs(Index n, Index m)
      : x(normal<Scalar>(n, m, 1001, 1)),
        dy(normal<Scalar>(n, m, 1002)),
        gamma(normal<Scalar>(n, 1, 1003, 1, 0.3)),
        beta(normal<Scalar>(n, 1, 1004)) {}
};

std::vector<double> words(std::vector<foldnorm::SampleStatistics> const& samples) {
  std::vector<double> result;
  for (auto const& s : samples) result.insert(result.end(), {s.mean_high, s.mean_low, s.inverse_deviation, s.scale});
  return result;
}

template <class Scalar>
Results<Scalar> layer_norm_of(Inputs<Scalar> const& in, Accuracy accuracy) {
  Index const n = in.x.rows(), m = in.x.cols();
  Results<Scalar> r{Matrix<Scalar>(n, m), Matrix<Scalar>(n, m), Vector<Scalar>(n), Vector<Scalar>(n), {}};
  NormStatistics<Scalar> statistics;
  foldnorm::layer_norm(in.x, in.gamma, in.beta, Scalar(1e-5), r.y, statistics, accuracy);
  foldnorm::layer_norm_backward(in.dy, in.x, in.gamma, statistics, r.dx, r.dgamma, r.dbeta, BackwardOptions{accuracy});
  r.statistics = words(statistics.samples);
  return r;
}
// dy in the place of the residual, s in the place of dx.
Results<float> add_rms_norm_of(Inputs<float> const& in, Accuracy accuracy) {
  Index const n = in.x.rows(), m = in.x.cols();
  Results<float> r{Matrix<float>(n, m), Matrix<float>(n, m), Vector<float>(n), Vector<float>(n), {}};
  NormStatistics<float> statistics;
  foldnorm::add_rms_norm(in.x, 0.5f, in.dy, in.gamma, in.beta, 1e-5f, r.dx, r.y, statistics, accuracy);
  Matrix<float> dx(n, m);
  foldnorm::add_rms_norm_backward(in.dy, in.x, r.dx, 0.5f, in.gamma, statistics, dx, r.dx, r.dgamma, r.dbeta,
                                  BackwardOptions{accuracy});
  r.statistics = words(statistics.samples);
  return r;
}

// Large enough to be shared; short and long samples; columns that no count divides; one slice of dgamma, and many.
struct Shape {
  Index n, m;
};
constexpr Shape shapes[] = {{768, 2048}, {16, 65536}, {769, 3000}, {4096, 255}, {200000, 5}};

}  // namespace

TEST_CASE("parallel: columns are shared out once each, in order, over as many threads as are worth waking") {
  using foldnorm::detail::bytes_worth_a_thread;
  using foldnorm::detail::share_columns;
  for (int threads : thread_counts) {
    Threads const use(threads);
    for (Index columns : {0, 1, 2, 3, 10, 1000}) {
      for (Index worth : {0, 1, 2, 100}) {
        INFO(threads << " threads, " << columns << " columns, bytes for " << worth);
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(columns));
        std::atomic<int> calls = 0;
        share_columns(columns, worth * bytes_worth_a_thread, [&](Index begin, Index end) {
          ++calls;
          for (Index j = begin; j < end; ++j) ++visits[static_cast<std::size_t>(j)];
        });
        for (auto const& count : visits) CHECK(count == 1);
        CHECK(calls <= std::max<Index>(1, std::min<Index>({threads, columns, worth})));
      }
    }
  }
  Threads const two(2);
  int calls = 0;
  share_columns(1000, 2 * bytes_worth_a_thread - 1, [&](Index, Index) { ++calls; });
  CHECK(calls == 1);
}

TEST_CASE("norms: y, statistics and all gradients are the same bits for every number of threads") {
  for (Shape shape : shapes) {
    INFO(shape.n << "x" << shape.m);
    Inputs<float> const in(shape.n, shape.m);
    for (Accuracy accuracy : {Accuracy::fast, Accuracy::accurate}) {
      Eigen::setNbThreads(1);
      auto const layer = layer_norm_of(in, accuracy);
      auto const sum = add_rms_norm_of(in, accuracy);
      for (int threads : thread_counts) {
        INFO(threads << " threads");
        Threads const use(threads);
        CHECK(layer_norm_of(in, accuracy) == layer);
        CHECK(add_rms_norm_of(in, accuracy) == sum);
      }
    }
  }
  Inputs<double> const in(769, 1500);
  Eigen::setNbThreads(1);
  auto const expected = layer_norm_of(in, Accuracy::fast);
  Threads const use(3);
  CHECK(layer_norm_of(in, Accuracy::fast) == expected);
}

TEST_CASE("norms: gradients of short groups are the same bits for every number of threads") {
  // Whole blocks, joined columns, parts of a block that are not joined.
  struct Groups {
    Index n, m, d;
  };
  for (auto [n, m, d] : {Groups{768, 2048, 8}, {64, 20000, 16}, {12, 90000, 4}, {1028, 1500, 4}}) {
    INFO(n << "x" << m << ", groups of " << d);
    Inputs<float> const in(n, m);
    NormStatistics<float> const statistics{
        n, d,
        std::vector<foldnorm::SampleStatistics>(std::size_t(n / d * m), {.mean_high = 1, .inverse_deviation = 0.9})};
    auto const backward = [&] {
      Results<float> r{
          {}, Matrix<float>(in.x.rows(), in.x.cols()), Vector<float>(in.x.rows()), Vector<float>(in.x.rows()), {}};
      foldnorm::parallel_layer_norm_backward(in.dy, in.x, in.gamma, statistics, r.dx, r.dgamma, r.dbeta);
      return r;
    };
    Eigen::setNbThreads(1);
    auto const expected = backward();
    for (int threads : thread_counts) {
      INFO(threads << " threads");
      Threads const use(threads);
      CHECK(backward() == expected);
    }
  }
}

TEST_CASE("norms: inside a parallel region each call is its own thread's, and the same bits") {
  Inputs<float> const in(769, 1000);
  Eigen::setNbThreads(1);
  auto const expected = layer_norm_of(in, Accuracy::fast);
  Threads const use(2);
  int wrong = 0;
#pragma omp parallel num_threads(3) reduction(+ : wrong)
  wrong += layer_norm_of(in, Accuracy::fast) == expected ? 0 : 1;
  CHECK(wrong == 0);
}

TEST_CASE("norms: two threads may read the same inputs at a time") {
  Inputs<float> const in(64, 5000);
  auto const expected = layer_norm_of(in, Accuracy::fast);
  bool same[2] = {};
  std::thread first([&] { same[0] = layer_norm_of(in, Accuracy::fast) == expected; });
  std::thread second([&] { same[1] = layer_norm_of(in, Accuracy::fast) == expected; });
  first.join();
  second.join();
  CHECK(same[0]);
  CHECK(same[1]);
}
