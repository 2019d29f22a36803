// SPDX-License-Identifier: MIT
// Samples sent through a LineBuffer arrive as they were written, and nothing beside them changes.
#include <foldnorm/kernels/detail/line_buffer.hpp>

#include <random>

#include "catch.hpp"
#include "foldnorm/core/types.hpp"

namespace {

using foldnorm::Index;
using foldnorm::Vector;
using foldnorm::detail::LineBuffer;

// Samples of random sizes, of which most adjoin the one before.
template <class T>
void send_samples(Vector<T>& memory, unsigned seed, bool used) {
  std::mt19937 random(seed);
  auto const draw = [&](Index least, Index most) { return std::uniform_int_distribution<Index>(least, most)(random); };
  Vector<T> expected = memory;
  LineBuffer<T> buffer(used);
  T value = 0;
  for (Index at = draw(1, 40);;) {
    if (draw(0, 3) == 0) at += draw(1, 40);
    Index const n = draw(0, 1) == 0 ? draw(1, 5) : draw(1, 500);
    if (at + n >= memory.size()) break;
    T* const place = buffer.place(memory.data() + at);
    CHECK((place == memory.data() + at) == !used);
    for (Index i = 0; i < n; ++i) place[i] = expected[at + i] = ++value;
    buffer.send(memory.data() + at, n);
    at += n;
  }
  buffer.finish();
  buffer.finish();  // nothing waits any more
  foldnorm::detail::stream_fence();
  CHECK(memory == expected);
}

}  // namespace

TEMPLATE_TEST_CASE("line buffer: samples arrive whole, and nothing else is written", "", float, double) {
  for (unsigned seed = 1; seed <= 200; ++seed) {
    INFO("seed " << seed);
    for (bool used : {true, false}) {
      Vector<TestType> memory = Vector<TestType>::Constant(20'000, -1);
      send_samples<TestType>(memory, seed, used);
    }
  }
}

TEMPLATE_TEST_CASE("line buffer: a sample as long as its capacity, from the last value of a line on", "", float,
                   double) {
  Index const n = LineBuffer<TestType>::capacity;
  Vector<TestType> memory = Vector<TestType>::Constant(n + 64, -1);
  TestType* to = memory.data();
  while (foldnorm::detail::past_line(to + 1) != 0) ++to;
  LineBuffer<TestType> buffer(true);
  TestType* const place = buffer.place(to);
  for (Index i = 0; i < n; ++i) place[i] = static_cast<TestType>(i);
  buffer.send(to, n);
  buffer.finish();
  foldnorm::detail::stream_fence();
  Index const first = to - memory.data();
  CHECK(memory.segment(first, n) == Vector<TestType>::LinSpaced(n, 0, static_cast<TestType>(n - 1)));
  CHECK((memory.head(first).array() == -1).all());
  CHECK((memory.tail(memory.size() - first - n).array() == -1).all());
}
