// SPDX-License-Identifier: MIT
// foldnorm/kernels/detail/line_buffer.hpp -- results of samples of any length and place, past the caches in whole
// lines.
//
// A line of a cache that is partly streamed and partly stored is the slowest of all: normalizing 784 x 8192 floats took
// twice as long with one such line in 49, 232 x 32768 floats 2.7 times. So a sample is written here, at its place
// within a line, and sent from here; what its last line lacks comes from the next sample where that adjoins it.
#pragma once

#include <foldnorm/kernels/detail/part_of_pack.hpp>

#include <algorithm>

namespace foldnorm::detail {

template <storage_scalar T>
class LineBuffer {
  static constexpr Index line = 64 / sizeof(T);

 public:
  // Values of a sample. None where nothing is streamed: half and bfloat16 clear themselves, 32 KiB of them in each
  // call, which took longer than two columns of 768.
  static constexpr Index capacity = real_scalar<T> ? (Index{32} << 10) / static_cast<Index>(sizeof(T)) : 0;

  // One that is not used hands every sample its own place. `used`: T is real_scalar, and samples fit the capacity.
  explicit LineBuffer(bool used) : used_(used) {}
  LineBuffer(LineBuffer const&) = delete;
  LineBuffer& operator=(LineBuffer const&) = delete;
  bool used() const { return used_; }

  // Where to write the sample that belongs at `to`, before send().
  T* place(T* to) {
    if (!used_) return to;
    if (to != next_) {
      finish();
      first_ = past_line(to);
    }
    return values_ + past_line(to);
  }
  // The n values that were placed for `to`; those of a line that is not full wait for the next.
  void send(T* to, Index n) {
    if constexpr (real_scalar<T>) {
      if (!used_) return;
      next_ = to + n;
      Index const whole_lines_end = (past_line(to) + n) / line * line;
      if (whole_lines_end == 0) return;
      T* const lines = to - past_line(to);
      Index i = 0;
      if (first_ > 0) {  // the line's other part is not this call's
        std::copy(values_ + first_, values_ + line, lines + first_);
        first_ = 0;
        i = line;
      }
      for (; i < whole_lines_end; i += line) {
        unrolled<line / width<T>>(
            [&](int p) FOLDNORM_INLINE_LAMBDA { stream(lines + i + p * width<T>, load(values_ + i + p * width<T>)); });
      }
      std::copy_n(values_ + whole_lines_end, line, values_);
    }
  }
  // Writes what still waits.
  void finish() {
    if (!next_) return;
    Index const end = past_line(next_);
    if (first_ < end) std::copy(values_ + first_, values_ + end, next_ - (end - first_));
    next_ = nullptr;
  }

 private:
  bool used_;
  T* next_ = nullptr;  // where a sample would go on with the line that waits
  Index first_ = 0;    // the first value of the waiting line that was placed
  alignas(64) T values_[capacity + 2 * line];
};

}  // namespace foldnorm::detail
