// SPDX-License-Identifier: MIT
// Compiled without OpenMP; with it, share_columns is tested in kernels/threads_test.cpp.
#include <foldnorm/core/parallel.hpp>

#include "catch.hpp"

TEST_CASE("parallel: without OpenMP all columns are one range, however many threads Eigen is told of") {
  using namespace foldnorm::detail;
  for (foldnorm::Index columns : {0, 1, 5, 1000}) {
    int calls = 0;
    share_columns(columns, 1000 * bytes_worth_a_thread, [&](foldnorm::Index begin, foldnorm::Index end) {
      ++calls;
      CHECK(begin == 0);
      CHECK(end == columns);
    });
    CHECK(calls == 1);
  }
}
