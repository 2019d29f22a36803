// SPDX-License-Identifier: MIT
// bench/peers/copies.cpp -- the limits: memcpy of x to the output, and on x86 the same with non-temporal stores.
#include "../implementation.hpp"

#include <cstring>

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace bench {
namespace {

struct Span {
  char const* from;
  char* to;
  Index size;
};

// Thread `i` of `threads` gets whole lines; the last one the rest.
Span part(Problem& p, int i, int threads) {
  Index const size = p.x.count() * size_of(p.what.scalar), each = size / threads / 64 * 64, begin = i * each;
  Buffer const& output = is_backward(p.what.operation) ? p.dx : p.y;
  return {p.x.as<char>() + begin, output.as<char>() + begin, i + 1 == threads ? size - begin : each};
}

void copy(Span s) { std::memcpy(s.to, s.from, static_cast<std::size_t>(s.size)); }

#ifdef __SSE2__
void stream(Span s) {
  Index i = 0;
  for (; i + 64 <= s.size; i += 64) {
    auto const* from = reinterpret_cast<float const*>(s.from + i);
    auto* to = reinterpret_cast<float*>(s.to + i);
    for (int k = 0; k < 16; k += 4) _mm_stream_ps(to + k, _mm_load_ps(from + k));
  }
  copy({s.from + i, s.to + i, s.size - i});
  _mm_sfence();
}
#endif

template <void (*Copy)(Span)>
Implementation implementation(char const* name, int threads) {
  return {name, [threads](Problem& p) -> Run {
            if (threads == 1) return [&p] { Copy(part(p, 0, 1)); };
            return [&p, threads] {
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(static, 1)
#endif
              for (int i = 0; i < threads; ++i) Copy(part(p, i, threads));
            };
          }};
}

}  // namespace

std::vector<Implementation> copies(int threads) {
  return {
      implementation<copy>(memcpy_name, threads),
#ifdef __SSE2__
      implementation<stream>(streaming_copy_name, threads),
#endif
  };
}

}  // namespace bench
