// SPDX-License-Identifier: MIT
// tests/fuzz/kernels_fuzzer.cpp -- norms on shapes, memory and values from bytes: within the bounds of docs/numerics.md
// beside a reference, the same bits in place and in any storage order, and nothing written outside of the results.
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/parallel_layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include "fuzz/norm_bounds.hpp"
#include "fuzz/norm_case.hpp"
#include "laws/inputs.hpp"

namespace {

using namespace fuzz;
using foldnorm::NormStatistics;

template <class T, bool subtracts_mean, bool grouped>
void forward(NormCase<T> const& c, auto const& x, Eigen::Ref<Matrix<T>, 0, Eigen::OuterStride<>> y,
             NormStatistics<T>& statistics) {
  if constexpr (grouped && subtracts_mean) {
    foldnorm::parallel_layer_norm(x, c.norm_size, c.gamma, c.beta, c.eps, y, statistics, c.accuracy);
  } else if constexpr (grouped) {
    foldnorm::parallel_layer_scaling(x, c.norm_size, c.gamma, c.beta, c.eps, y, statistics, c.accuracy);
  } else if constexpr (subtracts_mean) {
    foldnorm::layer_norm(x, c.gamma, c.beta, c.eps, y, statistics, c.accuracy);
  } else {
    foldnorm::rms_norm(x, c.gamma, c.beta, c.eps, y, statistics, c.accuracy);
  }
}

template <class T, bool subtracts_mean, bool grouped>
void backward(NormCase<T> const& c, auto const& dy, NormStatistics<T> const& statistics,
              Eigen::Ref<Matrix<T>, 0, Eigen::OuterStride<>> dx, Vector<T>& dgamma, Vector<T>& dbeta) {
  foldnorm::BackwardOptions const options{c.accuracy};
  if constexpr (grouped && subtracts_mean) {
    foldnorm::parallel_layer_norm_backward(dy, c.x, c.gamma, statistics, dx, dgamma, dbeta, options);
  } else if constexpr (grouped) {
    foldnorm::parallel_layer_scaling_backward(dy, c.x, c.gamma, statistics, dx, dgamma, dbeta, options);
  } else if constexpr (subtracts_mean) {
    foldnorm::layer_norm_backward(dy, c.x, c.gamma, statistics, dx, dgamma, dbeta, options);
  } else {
    foldnorm::rms_norm_backward(dy, c.x, c.gamma, statistics, dx, dgamma, dbeta, options);
  }
}

template <class T, bool subtracts_mean, bool grouped>
void check_norm(FuzzedDataProvider& bytes) {
  NormCase<T> const c(grouped, bytes);
  Matrix<T> const zeros = Matrix<T>::Zero(c.x.rows(), c.x.cols());
  NormStatistics<T> statistics, ignored;
  Within<T> y_memory(zeros, bytes), in_place(c.x, bytes), rows_memory(zeros, bytes);
  forward<T, subtracts_mean, grouped>(c, c.x, y_memory.view(), statistics);
  Matrix<T> const y = y_memory.result();
  forward<T, subtracts_mean, grouped>(c, in_place.view(), in_place.view(), ignored);
  promise(laws::same_bits(in_place.result(), y), "in place gives other bits");
  Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> const rows = c.x;
  forward<T, subtracts_mean, grouped>(c, rows, rows_memory.view(), ignored);
  promise(laws::same_bits(rows_memory.result(), y), "another storage order gives other bits");

  Matrix<T> const x = c.by_groups(c.x), gamma = c.by_groups(c.gamma.replicate(1, c.samples));
  check_forward<T>(c.by_groups(y), x, gamma, c.by_groups(c.beta.replicate(1, c.samples)), c.eps, subtracts_mean,
                   c.accuracy);

  Vector<T> dgamma(c.x.rows()), dbeta(c.x.rows()), ignored_sum(c.x.rows()), other_sum(c.x.rows());
  Within<T> dx_memory(zeros, bytes), over_dy(c.dy, bytes);
  backward<T, subtracts_mean, grouped>(c, c.dy, statistics, dx_memory.view(), dgamma, dbeta);
  Matrix<T> const dx = dx_memory.result();
  backward<T, subtracts_mean, grouped>(c, over_dy.view(), statistics, over_dy.view(), ignored_sum, other_sum);
  promise(laws::same_bits(over_dy.result(), dx), "a gradient in place gives other bits");
  if (!is_finite(c.x) || c.x.size() == 0) return;
  laws::WideNorm<T> const norm(x, c.eps, subtracts_mean);
  Matrix<T> const dy = c.by_groups(c.dy);
  check_dx<T>(c.by_groups(dx), dy, gamma, norm, subtracts_mean, c.accuracy);
  check_parameters<T>(dgamma, dbeta, dy, norm, c.accuracy);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  FuzzedDataProvider bytes(data, size);
  switch (bytes.ConsumeIntegralInRange(0, 7)) {
    case 0:
      check_norm<float, true, false>(bytes);
      break;
    case 1:
      check_norm<float, false, false>(bytes);
      break;
    case 2:
      check_norm<float, true, true>(bytes);
      break;
    case 3:
      check_norm<float, false, true>(bytes);
      break;
    case 4:
      check_norm<double, true, true>(bytes);
      break;
    case 5:
      check_norm<double, false, false>(bytes);
      break;
    case 6:
      check_norm<Eigen::half, true, false>(bytes);
      break;
    default:
      check_norm<Eigen::half, false, true>(bytes);
  }
  return 0;
}
