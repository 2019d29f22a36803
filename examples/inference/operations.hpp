// SPDX-License-Identifier: MIT
// inference/operations.hpp -- what the executor computes beside the library's norms: on views of planned memory.
#pragma once

#include <foldnorm/core/types.hpp>

#include <Eigen/Core>
#include <unsupported/Eigen/SpecialFunctions>

#include <algorithm>
#include <cmath>

namespace foldnorm::inference {

using View = Eigen::Map<Matrix<float>>;
using ConstView = Eigen::Map<Matrix<float> const>;

// The one product of all networks, original and folded: not inlined, so that no compiler shapes it by its caller.
template <class Weight>
[[gnu::noinline]] void product(Weight const& weight, ConstView const& x, View y) {
  y.noalias() = weight * x;
}

// Calls work(begin, end) for parts of `columns` columns, on as many threads as Eigen uses, if there is enough to do.
template <class Work>
void share_columns(Index columns, [[maybe_unused]] Index values, Work const& work) {
#if defined(_OPENMP)
  constexpr Index values_worth_a_thread = 1 << 16;
  Index const parts = std::min<Index>({Eigen::nbThreads(), columns, values / values_worth_a_thread});
  if (parts > 1) {
#pragma omp parallel for num_threads(static_cast <int>(parts)) schedule(static)
    for (Index part = 0; part < parts; ++part) work(columns * part / parts, columns * (part + 1) / parts);
    return;
  }
#endif
  work(0, columns);
}

template <class Function>
void map_values(ConstView const& x, View y, Function const& function) {
  share_columns(x.cols(), x.size(), [&](Index begin, Index end) {
    y.middleCols(begin, end - begin) = function(x.middleCols(begin, end - begin).array()).matrix();
  });
}

inline void relu(ConstView const& x, View y) {
  map_values(x, y, [](auto const& v) { return v.max(0.0F); });
}
inline void gelu(ConstView const& x, View y) {
  map_values(x, y, [](auto const& v) { return 0.5F * v * (1 + (v * 0.70710678F).erf()); });  // x / sqrt(2)
}

// y = a + b; an operand of one token is repeated. y may be either.
inline void add(ConstView const& a, ConstView const& b, View y) {
  if (a.cols() != y.cols()) return add(b, a, y);
  share_columns(y.cols(), y.size(), [&](Index begin, Index end) {
    if (b.cols() == y.cols()) {
      y.middleCols(begin, end - begin) = a.middleCols(begin, end - begin) + b.middleCols(begin, end - begin);
    } else {
      y.middleCols(begin, end - begin) = a.middleCols(begin, end - begin).colwise() + b.col(0);
    }
  });
}

// y_j = b + sum over t of W_t x_{j + t - (kernel - 1) / 2}, zeros outside.
inline void convolution(Matrix<float> const& weight, ConstView const& x, View y) {
  Index const in = x.rows(), kernel = weight.cols() / in;
  for (Index t = 0; t < kernel; ++t) {
    Index const shift = t - (kernel - 1) / 2;
    Index const begin = std::max<Index>(0, -shift), end = std::min(x.cols(), x.cols() - shift);
    auto const part = weight.middleCols(t * in, in);
    if (t == 0) y.setZero();
    if (end > begin) y.middleCols(begin, end - begin).noalias() += part * x.middleCols(begin + shift, end - begin);
  }
}

// Per head: softmax over the keys of k.q / sqrt(length), mixing the values. scores: keys x queries for each head.
inline void attention(ConstView const& q, ConstView const& k, ConstView const& v, Index heads, View scores, View y) {
  Index const length = q.rows() / heads, value_length = v.rows() / heads;
  float const scale = 1 / std::sqrt(static_cast<float>(length));
  auto const head = [&](Index h) {
    auto s = scores.middleCols(h * q.cols(), q.cols());
    s.noalias() = scale * k.middleRows(h * length, length).transpose() * q.middleRows(h * length, length);
    for (Index j = 0; j < s.cols(); ++j) {
      s.col(j) = (s.col(j).array() - s.col(j).maxCoeff()).exp();
      s.col(j) /= s.col(j).sum();
    }
    y.middleRows(h * value_length, value_length).noalias() = v.middleRows(h * value_length, value_length) * s;
  };
  share_columns(heads, scores.size(), [&](Index begin, Index end) {
    for (Index h = begin; h < end; ++h) head(h);
  });
}

}  // namespace foldnorm::inference
