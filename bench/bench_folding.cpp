// SPDX-License-Identifier: MIT
// bench/bench_folding.cpp -- fold_centering of weights in float beside memcpy of as many bytes, in turns: medians.
#include <foldnorm/fold/centering.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

namespace {

template <class Action>
double seconds_of(Action action) {
  auto const start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main() {
  using foldnorm::Index;
  std::puts(" out x in        memcpy   fold_centering   of it");
  for (auto const& [out, in] : {std::pair<Index, Index>{768, 3072}, {1024, 4096}, {4096, 4096}, {4096, 16384}}) {
    // Columns that are far from centered, so that each is written.
    foldnorm::Matrix<float> const weight = (foldnorm::Matrix<float>::Random(out, in).array() + 0.3F).matrix();
    foldnorm::Matrix<float> copy = weight;
    auto const bytes = static_cast<std::size_t>(weight.size()) * sizeof(float);
    std::vector<double> copies, folds;
    for (int round = 0; round < 9; ++round) {
      copies.push_back(seconds_of([&] { std::memcpy(copy.data(), weight.data(), bytes); }));
      folds.push_back(seconds_of([&] { foldnorm::fold_centering(copy); }));
    }
    double const gigabytes = static_cast<double>(bytes) * 1e-9;
    std::printf("%4td x %-5td %6.2f GB/s      %6.2f GB/s    %4.2f\n", out, in, gigabytes / median(copies),
                gigabytes / median(folds), median(copies) / median(folds));
  }
}
