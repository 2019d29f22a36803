// SPDX-License-Identifier: MIT
// foldnorm/whitening/whitening_cache.hpp -- what a whitening layer keeps between forward and backward, group by group.
#pragma once

#include <foldnorm/core/parallel.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/covariance.hpp>
#include <foldnorm/whitening/whitening_group.hpp>

#include <type_traits>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// What a forward keeps for its backward, and memory for both: owned by the caller, one per use of a layer that is alive
// at the same time. A second forward of the same shape allocates nothing of its own (Eigen's products and
// decompositions have buffers, see docs/whitening.md).
template <real_scalar Scalar, class Method>
struct WhiteningCache {
  std::vector<detail::WhiteningGroup<Method, Scalar>> groups;
  Vector<double> mean;  // of all machines' samples
  double count = 0;     // samples of all machines
  Index samples = 0;    // of this one
  bool filled = false;  // by a forward that wrote its output
  Vector<double> dy_sum;
  std::vector<double> shared;  // what is added up over machines
};

namespace detail {

// The same matrix of every group, in one message.
template <real_scalar Scalar, class Method, class MatrixOf>
void sum_over_machines(WhiteningCache<Scalar, Method>& cache, SumOverMachines const& sum, MatrixOf matrix_of) {
  std::size_t size = 0;
  for (auto& group : cache.groups) size += static_cast<std::size_t>(matrix_of(group).size());
  cache.shared.resize(size);
  auto const visit = [&](auto const& copy) {
    double* at = cache.shared.data();
    for (auto& group : cache.groups) {
      auto& matrix = matrix_of(group);
      Eigen::Map<Matrix<double>> shared(at, matrix.rows(), matrix.cols());
      copy(matrix, shared);
      at += matrix.size();
    }
  };
  visit([](auto const& matrix, auto& shared) { shared = matrix.template cast<double>(); });
  sum(cache.shared);
  visit([](auto& matrix, auto const& shared) {
    matrix = shared.template cast<typename std::decay_t<decltype(matrix)>::Scalar>();
  });
}

// Calls work(group), groups shared out over threads.
template <real_scalar Scalar, class Method, class Work>
void share_groups(WhiteningCache<Scalar, Method>& cache, Work const& work) {
  Index bytes = 0;
  for (auto const& group : cache.groups) bytes += group.features * cache.samples * Index{sizeof(Scalar)};
  share_columns(static_cast<Index>(cache.groups.size()), bytes, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) work(cache.groups[static_cast<std::size_t>(i)]);
  });
}

}  // namespace detail
}  // namespace foldnorm::inline FOLDNORM_ABI
