// SPDX-License-Identifier: MIT
// bench/bench_accuracy.cpp -- foldnorm's LayerNorm beside its peers on the samples that break norms, against long
// double.
//
// For each class of samples nrm / E_y (docs/numerics.md; beta = +-0.1), and on N(0, 1) samples with beta = 0 the root
// mean square of the error. Prints a Markdown table; "inf" is an output that is not finite.
#include "implementation.hpp"

#include "laws/inputs.hpp"
#include "laws/reference.hpp"

#include <cstdio>
#include <string>
#include <vector>

namespace {

using foldnorm::Index;
using foldnorm::Matrix;
using foldnorm::Vector;

struct Class {
  std::string name;
  Matrix<float> x;
};

std::vector<Class> classes() {
  using namespace laws;
  return {{"N(0, 1), n 16", normal<float>(16, 400, 1)},
          {"N(0, 1), n 768", normal<float>(768, 100, 2)},
          {"mean 10", normal<float>(768, 100, 3, 10)},
          {"mean 1e3", normal<float>(768, 100, 4, 1e3)},
          {"mean 1e6", normal<float>(768, 100, 5, 1e6)},
          {"one feature of 1e4", outliers<float>(768, 100, 6, 1e4f)},
          {"constant pi", Matrix<float>::Constant(768, 4, 3.14159265f)},
          {"constant 1.2e8", Matrix<float>::Constant(768, 4, 1.2e8f)},
          {"1e20 .. 1e30", magnitudes<float>(300, 40, 7, 20, 30)},
          {"up to the largest float", uniform<float>(300, 40, 8, -3.4e38, 3.4e38)}};
}

// What an implementation makes of x.
Matrix<float> output(bench::Implementation const& implementation, Matrix<float> const& x, float beta_size) {
  bench::Problem p({bench::Operation::layer_norm, bench::Scalar::f32, {x.rows(), x.cols()}});
  Eigen::Map<Matrix<float>>(p.x.f32(), x.rows(), x.cols()) = x;
  Eigen::Map<Vector<float>>(p.gamma.f32(), x.rows()).setOnes();
  for (Index i = 0; i < x.rows(); ++i) p.beta.f32()[i] = i % 2 == 0 ? beta_size : -beta_size;
  bench::Run run = implementation.prepare(p);
  run();
  return Eigen::Map<Matrix<float>>(p.y.f32(), x.rows(), x.cols());
}

std::string cell(bench::Implementation const& implementation, Matrix<float> const& x) {
  Vector<float> const ones = Vector<float>::Ones(x.rows());
  Vector<float> const beta = Vector<float>::NullaryExpr(x.rows(), [](Index i) { return i % 2 == 0 ? 0.1f : -0.1f; });
  auto const errors = laws::forward_errors(output(implementation, x, 0.1f), x, ones, beta, bench::eps, true);
  char text[64];
  std::snprintf(text, sizeof text, "%.2g / %.2g", errors.nrm, errors.y);
  return text;
}

double root_mean_square_error(bench::Implementation const& implementation, Matrix<float> const& x) {
  Matrix<laws::Wide> const exact = laws::WideNorm<float>(x, bench::eps, true).xhat;
  Matrix<laws::Wide> const error = output(implementation, x, 0).cast<laws::Wide>() - exact;
  return std::sqrt(static_cast<double>(error.squaredNorm()) / static_cast<double>(x.size()));
}

}  // namespace

int main() {
  std::vector<bench::Implementation> contenders;
  for (auto const& library : bench::libraries(1)) {
    for (auto const& implementation : library.implementations) {
      if (implementation.name == "libtorch" || implementation.name == "loops") continue;  // as their neighbours
      bench::Problem probe({bench::Operation::layer_norm, bench::Scalar::f32, {16, 4}});
      if (implementation.prepare(probe)) contenders.push_back(implementation);
    }
  }
  std::printf("| nrm / E_y |");
  for (auto const& c : contenders) std::printf(" %s |", c.name.c_str());
  std::printf("\n|---|");
  for (std::size_t i = 0; i < contenders.size(); ++i) std::printf("---|");
  for (auto const& samples : classes()) {
    std::printf("\n| %s |", samples.name.c_str());
    for (auto const& c : contenders) std::printf(" %s |", cell(c, samples.x).c_str());
    std::fflush(stdout);
  }
  std::printf("\n| rms error, N(0, 1), n 768 |");
  Matrix<float> const x = laws::normal<float>(768, 400, 9);
  for (auto const& c : contenders) std::printf(" %.3g |", root_mean_square_error(c, x));
  std::printf("\n");
}
