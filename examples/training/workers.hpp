// SPDX-License-Identifier: MIT
// training/workers.hpp -- run a few pieces of work at once.
#pragma once

#include <future>
#include <vector>

namespace foldnorm::training {

// Calls work(0), ..., work(count - 1), each on a thread of its own, and returns when all have ended; work(0) runs on
// the calling thread. Rethrows the exception of the lowest-numbered piece that threw. Starting a thread takes some
// 30 us, against milliseconds of work in each.
template <class Work>
void run_workers(int count, Work const& work) {
  std::vector<std::future<void>> others;  // their destructors wait, also when work(0) throws
  for (int worker = 1; worker < count; ++worker) {
    others.push_back(std::async(std::launch::async, [&work, worker] { work(worker); }));
  }
  work(0);
  for (std::future<void>& other : others) other.get();
}

}  // namespace foldnorm::training
