// SPDX-License-Identifier: MIT
// training/progress_bar.hpp -- how far a training is: one line redrawn on a terminal, a few plain lines elsewhere.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

namespace foldnorm::training {

class ProgressBar {
 public:
  // Writes to standard output. `title` is printed in front of every line; `unit` is what `epochs` counts, if not
  // epochs.
  ProgressBar(std::string title, int epochs, std::string unit = "epoch")
      : title_(std::move(title)), unit_(std::move(unit)), epochs_(epochs), terminal_(isatty(STDOUT_FILENO) == 1) {}

  // epochs_done: whole and part epochs; note: what to show beside them. A terminal is redrawn at most ten times a
  // second; elsewhere a line appears at the end of each epoch.
  void update(double epochs_done, char const* note) {
    auto const now = Clock::now();
    bool const epoch_ends = epochs_done >= next_epoch_;
    if (epoch_ends) next_epoch_ += 1;
    if (!(epoch_ends || (terminal_ && now - last_drawn_ > std::chrono::milliseconds(100)))) return;
    last_drawn_ = now;

    double const elapsed = seconds(now);
    double const remaining = elapsed * (epochs_ - epochs_done) / epochs_done;
    std::printf("%s%s %s %4.1f/%d %s %s  %3.0f s, %3.0f s left", terminal_ ? "\r" : "", title_.c_str(), unit_.c_str(),
                epochs_done, epochs_, bar(epochs_done / epochs_).c_str(), note, elapsed, remaining);
    if (!terminal_ || epochs_done >= epochs_) std::printf("\n");
    std::fflush(stdout);
  }

 private:
  using Clock = std::chrono::steady_clock;

  double seconds(Clock::time_point now) const { return std::chrono::duration<double>(now - start_).count(); }

  static std::string bar(double fraction) {
    constexpr int width = 15;  // the whole line stays below 80 columns
    int const full = static_cast<int>(fraction * width);
    return "[" + std::string(static_cast<std::size_t>(full), '=') +
           std::string(static_cast<std::size_t>(width - full), ' ') + "]";
  }

  std::string title_, unit_;
  int epochs_;
  bool terminal_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_drawn_ = start_;
  double next_epoch_ = 1;
};

}  // namespace foldnorm::training
