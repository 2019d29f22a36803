// SPDX-License-Identifier: MIT
#include "implementation.hpp"

namespace bench {

std::vector<Library> libraries(int threads) {
  return {
      ours(threads),        eigen_matrix(), eigen_column(), textbook(), textbook_fast_math(), textbook_tuned(),
#ifdef BENCH_ONEDNN
      onednn(threads),
#endif
#ifdef BENCH_TORCH
      torch(threads),
#endif
#ifdef BENCH_ONNXRUNTIME
      onnxruntime(threads),
#endif
  };
}

std::vector<std::string> missing_libraries() {
  return {
#ifndef BENCH_ONEDNN
      "oneDNN",
#endif
#ifndef BENCH_TORCH
      "libtorch",
#endif
#ifndef BENCH_ONNXRUNTIME
      "ONNX Runtime",
#endif
  };
}

}  // namespace bench
