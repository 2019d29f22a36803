// SPDX-License-Identifier: MIT
// Whitening, timed in one process: covariance beside Eigen's rankUpdate; IterNorm, forward and backward, with each
// engine beside the same steps written plainly in Eigen, composed of libtorch's operators (where it is installed), and
// beside ZCA by eigendecomposition. And the errors of the engines in float and double, by steps and condition
// (--errors). Whoever computes something else than the plain steps is reported and not timed.
//
//   bench_whitening [--errors] [rounds]
//
// Times are medians over rounds in which everybody is measured in turn (measure.hpp).
#include <foldnorm/whitening/iter_norm.hpp>
#include <foldnorm/whitening/zca.hpp>

#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/spectra.hpp"
#include "measure.hpp"
#ifdef BENCH_TORCH
#include "peers/torch_iter_norm.hpp"
#endif

namespace {

using namespace foldnorm;

// IterNorm's iteration and its backward as one writes them down: whole products, nothing lazy, the shortcuts at P_0 =
// I.
template <class Scalar>
struct PlainIterNorm {
  using M = Matrix<Scalar>;
  int steps = 5;
  M centered, s, w, y, dx;
  std::vector<M> p;
  Scalar trace = 0;

  void forward(M const& x) {
    auto const m = static_cast<Scalar>(x.cols());
    Index const d = x.rows();
    centered = x.colwise() - x.rowwise().mean();
    M sigma = M::Zero(d, d);
    sigma.template selfadjointView<Eigen::Lower>().rankUpdate(centered, 1 / m);
    sigma.template triangularView<Eigen::StrictlyUpper>() = sigma.transpose();
    sigma.diagonal().array() += Scalar(1e-5);
    trace = sigma.trace();
    s = sigma / trace;
    p.assign(1, M::Identity(d, d));
    M square(d, d), cube(d, d), product(d, d);
    for (int k = 0; k < steps; ++k) {
      if (k == 0) {
        p.push_back(Scalar(1.5) * p[0] - Scalar(.5) * s);
        continue;
      }
      square.noalias() = p.back() * p.back();
      cube.noalias() = square * p.back();
      product.noalias() = cube * s;
      p.push_back(Scalar(1.5) * p.back() - Scalar(.5) * product);
    }
    w = p.back() / std::sqrt(trace);
    y.noalias() = w * centered;
  }
  void backward(M const& g) {
    auto const m = static_cast<Scalar>(g.cols());
    Index const d = g.rows();
    M gw(d, d), b = M::Zero(d, d), square(d, d), cube(d, d), h(d, d), hq(d, d);
    gw.noalias() = g * centered.transpose();
    M a = gw / std::sqrt(trace);
    for (int k = steps; k >= 1; --k) {
      M const& q = p[static_cast<std::size_t>(k) - 1];
      if (k == 1) {
        b -= Scalar(.5) * a;
        break;
      }
      square.noalias() = q * q;
      cube.noalias() = square * q;
      b.noalias() -= Scalar(.5) * cube.transpose() * a;
      h.noalias() = a * s;
      a *= Scalar(1.5);
      a.noalias() -= Scalar(.5) * h * square;
      a.noalias() -= Scalar(.5) * square * h;
      hq.noalias() = h * q;
      a.noalias() -= Scalar(.5) * q * hq;
    }
    Scalar const dtrace =
        -b.cwiseProduct(s).sum() / trace - Scalar(.5) * gw.cwiseProduct(p.back()).sum() / (trace * std::sqrt(trace));
    M dsigma = Scalar(.5) * (b + b.transpose()) / trace;
    dsigma.diagonal().array() += dtrace;
    M const deviation = g.colwise() - g.rowwise().mean();
    dx.noalias() = w.transpose() * deviation;
    dx.noalias() += (2 / m) * dsigma * centered;
  }
};

// To half of the digits: enough to tell another function, and newton loses some of the others by T = 7.
template <class Scalar>
bool close(Matrix<Scalar> const& a, Matrix<double> const& b) {
  double const rounding = static_cast<double>(std::numeric_limits<Scalar>::epsilon());
  return (a.template cast<double>() - b).norm() <= std::sqrt(rounding) * b.norm();
}

// Whether y and dx are the plain steps' in double.
template <class Scalar>
bool agrees(std::string const& name, Matrix<Scalar> const& y, Matrix<Scalar> const& dx,
            PlainIterNorm<double> const& plain) {
  if (close<Scalar>(y, plain.y) && close<Scalar>(dx, plain.dx)) return true;
  std::printf("WRONG, not timed: %s\n", name.c_str());
  return false;
}

template <class Scalar>
struct Memory {
  Matrix<Scalar> dy, y, dx;
  Vector<Scalar> dgamma, dbeta;
};

template <class Method, class Scalar>
bench::Timing both_ways(std::string const& name, Whitening<Scalar, Method> const& layer, Matrix<Scalar> const& x,
                        Memory<Scalar>& memory) {
  auto const cache = std::make_shared<typename Whitening<Scalar, Method>::Cache>();
  bench::Timing timing;
  timing.name = name;
  timing.run = [cache, layer, &x, &memory] {
    layer.forward(x, memory.y, *cache);
    layer.backward(memory.dy, *cache, memory.dx, memory.dgamma, memory.dbeta);
  };
  return timing;
}

void print(std::string const& title, std::vector<bench::Timing>& timings, int rounds) {
  bench::measure(timings, rounds, .02);
  std::printf("%-22s", title.c_str());
  for (auto const& t : timings) {
    std::printf("  %s %.0f us (%.2f)", t.name.c_str(), t.median() * 1e6, timings[0].median() / t.median());
  }
  std::printf("\n");
  std::fflush(stdout);
}

constexpr std::pair<char const*, IterNormEngine> engines[] = {{"newton", IterNormEngine::newton},
                                                              {"coupled", IterNormEngine::coupled},
                                                              {"spectral", IterNormEngine::spectral},
                                                              {"automatic", IterNormEngine::automatic}};

template <class Scalar>
void times(char const* scalar, int rounds) {
  for (Index const d : {16, 64, 128, 256}) {
    Matrix<Scalar> const x = Matrix<Scalar>::Random(d, 1024);
    std::string const size = std::string(scalar) + " " + std::to_string(d) + "x1024";
    Matrix<Scalar> scatter = Matrix<Scalar>::Zero(d, d), centered = x;
    std::vector<bench::Timing> covariances(3);
    covariances[0].name = "rankUpdate";
    covariances[0].run = [&] {
      scatter.setZero();
      scatter.template selfadjointView<Eigen::Lower>().rankUpdate(x);
    };
    covariances[1].name = "centered rankUpdate";
    covariances[1].run = [&] {
      centered = x.colwise() - x.rowwise().mean();
      scatter.setZero();
      scatter.template selfadjointView<Eigen::Lower>().rankUpdate(centered);
    };
    BatchStatistics statistics;
    covariances[2].name = "foldnorm";
    covariances[2].run = [&] { statistics = batch_statistics(x); };
    print(size + " covariance", covariances, rounds);

    for (int const steps : {1, 2, 3, 4, 5, 7}) {
      Memory<Scalar> memory{Matrix<Scalar>::Random(d, 1024), x, x, x.col(0), x.col(0)};
      PlainIterNorm<Scalar> plain;
      plain.steps = steps;
      std::vector<bench::Timing> norms(1);
      norms[0].name = "plain";
      norms[0].run = [&] {
        plain.forward(x);
        plain.backward(memory.dy);
      };
      PlainIterNorm<double> expected;
      expected.steps = steps;
      expected.forward(x.template cast<double>());
      expected.backward(memory.dy.template cast<double>());
      for (auto const& [name, engine] : engines) {
        bench::Timing const timing = both_ways(name, IterNorm<Scalar>(d, {}, {steps, engine}), x, memory);
        timing.run();
        if (agrees(name, memory.y, memory.dx, expected)) norms.push_back(timing);
      }
#ifdef BENCH_TORCH
      Matrix<Scalar> input = x;
      auto const composed =
          bench::torch_iter_norm(input.data(), memory.dy.data(), d, x.cols(), steps, memory.y.data(), memory.dx.data());
      composed.check();
      if (agrees<Scalar>("libtorch", memory.y, memory.dx, expected)) norms.push_back({"libtorch", composed.run, {}});
#endif
      norms.push_back(both_ways("zca", Zca<Scalar>(d), x, memory));  // another function
      print(size + " T=" + std::to_string(steps), norms, rounds);
    }
  }
}

// Relative errors of P and of its gradient against the scalar recurrence in extended precision.
template <class Scalar>
void errors(char const* scalar) {
  Index const d = 32;
  for (long double const condition : {1e1L, 1e2L, 1e4L, 1e6L, 1e8L}) {
    for (int const steps : {3, 5, 7, 10, 12, 15, 20, 50}) {
      spectra::Problem const problem(d, condition, 1);
      spectra::WideMatrix direction = spectra::random_matrix(d, d, 2);
      direction = (direction + direction.transpose().eval()) / 2;
      spectra::WideMatrix const p = problem.iterate(steps), dp = problem.derivative(steps, direction);
      std::printf("%-6s condition %.0e T=%-2d", scalar, static_cast<double>(condition), steps);
      for (auto const engine : {IterNormEngine::newton, IterNormEngine::coupled, IterNormEngine::spectral}) {
        IterNormMethod const method{steps, engine};
        IterNormMethod::State<Scalar> state;
        detail::NormalizedCovariance<Scalar> covariance;
        covariance.s = spectra::rounded<Scalar>(problem.matrix());
        covariance.trace = 1;
        WhiteningReport const report = method.find_whitener(covariance, state);
        double const error = spectra::relative_error(covariance.p, p);
        covariance.dp = spectra::rounded<Scalar>(direction);
        method.find_covariance_gradient(covariance, state);
        // without what the trace adds
        spectra::WideMatrix expected = dp;
        long double const by_trace = dp.cwiseProduct(problem.matrix()).sum() + .5L * direction.cwiseProduct(p).sum();
        expected.diagonal().array() -= by_trace;
        std::printf("  %.0e %.0e%c", error, spectra::relative_error(covariance.ds, expected),
                    report.status == WhiteningStatus::ok ? ' ' : '*');
      }
      std::printf("\n");
    }
  }
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  int rounds = 9;
  bool only_errors = false;
  CLI::App app("whitening's engines beside the same steps in plain Eigen and in libtorch");
  app.add_option("rounds", rounds, "measurements of each, taken in turn")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--errors", only_errors, "the engines' errors instead of their times");
  CLI11_PARSE(app, argument_count, arguments);
  if (only_errors) {
    std::printf("relative error of W and of its gradient: newton, coupled, spectral (*: stopped early)\n");
    errors<float>("float");
    errors<double>("double");
    return 0;
  }
  std::printf("median times; in brackets the speed relative to the first\n");
  times<double>("double", rounds);
  times<float>("float", rounds);
}
