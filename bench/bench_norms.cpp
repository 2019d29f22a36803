// SPDX-License-Identifier: MIT
// bench/bench_norms.cpp -- layer_norm and rms_norm beside plain Eigen expressions and memcpy of the same bytes.
//
// Case names are paths: operation/direction/scalar/features x columns, or plain_eigen and memcpy in its place. Every
// kernel is checked against double before it is timed. Time is per call, one thread; bytes are those read and written.
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

using foldnorm::Index;
using Matrix = foldnorm::Matrix<float>;
using Vector = foldnorm::Vector<float>;

constexpr float eps = 1e-5f;

// Features x columns: one token, a short sequence of a base-size transformer, an odd width, beyond the caches.
constexpr std::pair<Index, Index> shapes[] = {{768, 1},    {768, 128},  {1024, 512},
                                              {769, 2048}, {64, 65536}, {4096, 2048}};

struct Data {
  Data(Index features, Index columns)
      : x(Matrix::Random(features, columns)),
        dy(Matrix::Random(features, columns)),
        y(features, columns),
        gamma(Vector::Random(features)),
        beta(Vector::Random(features)),
        dgamma(features),
        dbeta(features) {}
  Matrix x, dy, y;
  Vector gamma, beta, dgamma, dbeta;
  foldnorm::NormStatistics<float> statistics;
};

void layer_norm(Data& d) { foldnorm::layer_norm(d.x, d.gamma, d.beta, eps, d.y); }
void rms_norm(Data& d) { foldnorm::rms_norm(d.x, d.gamma, d.beta, eps, d.y); }
void layer_norm_backward(Data& d) {
  foldnorm::layer_norm_backward(d.dy, d.x, d.gamma, d.statistics, d.y, d.dgamma, d.dbeta);
}
void rms_norm_backward(Data& d) {
  foldnorm::rms_norm_backward(d.dy, d.x, d.gamma, d.statistics, d.y, d.dgamma, d.dbeta);
}

// The obvious code, a column at a time: two passes, so that it is right for ordinary samples.
void plain_layer_norm(Data& d) {
  for (Index j = 0; j < d.x.cols(); ++j) {
    auto column = d.y.col(j).array();
    column = d.x.col(j).array() - d.x.col(j).mean();
    float const scale = 1 / std::sqrt(column.square().mean() + eps);
    column = column * scale * d.gamma.array() + d.beta.array();
  }
}
void plain_rms_norm(Data& d) {
  for (Index j = 0; j < d.x.cols(); ++j) {
    float const scale = 1 / std::sqrt(d.x.col(j).array().square().mean() + eps);
    d.y.col(j).array() = d.x.col(j).array() * scale * d.gamma.array() + d.beta.array();
  }
}
void copy(Data& d) { std::memcpy(d.y.data(), d.x.data(), static_cast<std::size_t>(d.x.size()) * sizeof(float)); }

using Run = void (*)(Data&);

template <class Norm>
void check_forward(Data& d, Run run, Norm norm) {
  run(d);
  foldnorm::Matrix<double> expected(d.x.rows(), d.x.cols());
  norm(d.x.cast<double>(), d.gamma.cast<double>(), d.beta.cast<double>(), expected);
  // Values stay below about 10; a float result within 1e-5 of double is right to the last few bits.
  if (!((d.y.cast<double>() - expected).cwiseAbs().maxCoeff() <= 1e-5)) {
    std::fprintf(stderr, "bench_norms: a result is wrong; nothing is timed\n");
    std::exit(1);
  }
}

constexpr auto exact_layer_norm = [](auto const& x, auto const& gamma, auto const& beta, auto& y) {
  foldnorm::layer_norm(x, gamma, beta, static_cast<double>(eps), y);
};
constexpr auto exact_rms_norm = [](auto const& x, auto const& gamma, auto const& beta, auto& y) {
  foldnorm::rms_norm(x, gamma, beta, static_cast<double>(eps), y);
};

void measure(benchmark::State& state, std::pair<Index, Index> shape, Run run, Run prepare, int matrices) {
  Data d(shape.first, shape.second);
  if (prepare) prepare(d);
  for (auto _ : state) {
    run(d);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * d.x.size() * static_cast<Index>(sizeof(float)) * matrices);
}

void add(std::string const& operation, std::pair<Index, Index> shape, Run run, int matrices, Run prepare = nullptr) {
  std::string const name = operation + "/f32/" + std::to_string(shape.first) + "x" + std::to_string(shape.second);
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) { measure(state, shape, run, prepare, matrices); });
}

}  // namespace

int main(int argument_count, char* arguments[]) {
  for (auto const& shape : shapes) {
    Data d(shape.first, shape.second);
    check_forward(d, layer_norm, exact_layer_norm);
    check_forward(d, plain_layer_norm, exact_layer_norm);
    check_forward(d, rms_norm, exact_rms_norm);
    check_forward(d, plain_rms_norm, exact_rms_norm);
    add("memcpy", shape, copy, 2);
    add("layer_norm/forward", shape, layer_norm, 2);
    add("plain_eigen/layer_norm/forward", shape, plain_layer_norm, 2);
    add("rms_norm/forward", shape, rms_norm, 2);
    add("plain_eigen/rms_norm/forward", shape, plain_rms_norm, 2);
    add("layer_norm/backward", shape, layer_norm_backward, 3,
        [](Data& data) { foldnorm::layer_norm(data.x, data.gamma, data.beta, eps, data.y, data.statistics); });
    add("rms_norm/backward", shape, rms_norm_backward, 3,
        [](Data& data) { foldnorm::rms_norm(data.x, data.gamma, data.beta, eps, data.y, data.statistics); });
  }
  benchmark::Initialize(&argument_count, arguments);
  if (benchmark::ReportUnrecognizedArguments(argument_count, arguments)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
