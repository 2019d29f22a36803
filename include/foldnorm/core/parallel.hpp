// SPDX-License-Identifier: MIT
// foldnorm/core/parallel.hpp -- columns shared out over OpenMP threads, as Eigen's own products do it.
//
// Active where the including program is compiled with OpenMP; Eigen::setNbThreads(1) turns it off, as does being called
// from inside a parallel region. Which thread works on a column never changes a result.
#pragma once

#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <exception>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace foldnorm::detail {

// A thread is worth waking (some 5 us) for this much memory to pass over: about 20 us of work.
inline constexpr Index bytes_worth_a_thread = Index{512} << 10;

#if defined(_OPENMP)
// The first exception of a team of threads: none may leave its parallel region.
class TeamError {
 public:
  template <class Work>
  void keep(Work const& work) {
#if defined(__cpp_exceptions)
    try {
      work();
    } catch (...) {
#pragma omp critical(foldnorm_team_error)
      if (!first_) first_ = std::current_exception();
    }
#else
    work();
#endif
  }
  void rethrow() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  std::exception_ptr first_;
};
#endif

// Calls work(begin, end) for ranges that make up 0 .. columns - 1. `bytes`: what all columns read and write together.
// What work throws comes to the caller when all threads are done.
template <class Work>
void share_columns(Index columns, [[maybe_unused]] Index bytes, Work const& work) {
#if defined(_OPENMP)
  auto const threads = std::min({static_cast<Index>(Eigen::nbThreads()), columns, bytes / bytes_worth_a_thread});
  if (threads > 1 && !omp_in_parallel()) {
    TeamError error;
#pragma omp parallel num_threads(static_cast <int>(threads))
    {
      Index const team = omp_get_num_threads();  // may be fewer than asked for
      Index const self = omp_get_thread_num();
      error.keep([&] { work(columns * self / team, columns * (self + 1) / team); });
    }
    error.rethrow();
    return;
  }
#endif
  work(Index{0}, columns);
}

}  // namespace foldnorm::detail
