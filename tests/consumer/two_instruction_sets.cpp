// SPDX-License-Identifier: MIT
// tests/consumer/two_instruction_sets.cpp -- one program with two copies of foldnorm's kernels, for any x86-64 and for
// AVX2. Without a name of its own for each, the linker would keep one copy of every inline function for both.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

namespace basic {
std::string layer_norm(float const* x, std::ptrdiff_t features, std::ptrdiff_t samples, float* y);
}
namespace avx2 {
std::string layer_norm(float const* x, std::ptrdiff_t features, std::ptrdiff_t samples, float* y);
}

int main() {
  constexpr std::ptrdiff_t features = 100, samples = 7;
  std::vector<float> x(features * samples), for_any(x.size()), for_avx2(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i * i));

  std::string const any_name = basic::layer_norm(x.data(), features, samples, for_any.data());
  if (any_name.find("basic") == std::string::npos) {
    std::printf("the copy for any machine is named %s\n", any_name.c_str());
    return 1;
  }
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::puts("no AVX2 here: its copy is linked, not run");
    return 0;
  }
  std::string const avx2_name = avx2::layer_norm(x.data(), features, samples, for_avx2.data());
  float largest = 0;
  for (std::size_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(for_any[i] - for_avx2[i]));
  std::printf("%s and %s differ by at most %g\n", any_name.c_str(), avx2_name.c_str(), static_cast<double>(largest));
  return avx2_name.find("avx2") != std::string::npos && largest < 1e-5f ? 0 : 1;
}
