// SPDX-License-Identifier: MIT
// tests/laws/instances.hpp -- the kernels' inner templates, compiled once for all tests instead of once per file.
//
// Each takes 2 to 4 seconds. With FOLDNORM_TEST_FILE_ALONE a file compiles what it needs itself (tests/mutation,
// tests/fuzz). What is not in these lists still works, compiled where it is used.
#pragma once

#include <foldnorm/kernels/add_norm.hpp>
#include <foldnorm/kernels/parallel_layer_norm.hpp>

// TEMPLATE is `template`, which compiles an instance here, or `extern template`, which says that another file does.
#define FOLDNORM_FORWARD_OF(TEMPLATE, NORM, GROUPED, SOURCE, GAMMA, BETA)                \
  TEMPLATE void normalize_samples<NORM, Operands<GROUPED, SOURCE, GAMMA, BETA>>(         \
      Operands<GROUPED, SOURCE, GAMMA, BETA> const&, Traffic, Index, Index);             \
  TEMPLATE void normalize_samples_exactly<NORM, Operands<GROUPED, SOURCE, GAMMA, BETA>>( \
      Operands<GROUPED, SOURCE, GAMMA, BETA> const&, Index, Index);
#define FOLDNORM_FORWARD(TEMPLATE, GROUPED, SOURCE, GAMMA, BETA)               \
  FOLDNORM_FORWARD_OF(TEMPLATE, LayerNormPolicy, GROUPED, SOURCE, GAMMA, BETA) \
  FOLDNORM_FORWARD_OF(TEMPLATE, RMSNormPolicy, GROUPED, SOURCE, GAMMA, BETA)

#define FOLDNORM_BACKWARD_OF(TEMPLATE, NORM, GROUPED, T, GAMMA)                                 \
  TEMPLATE void backward_checked<NORM, BackwardOperands<GROUPED, T, GAMMA>>(                    \
      BackwardOperands<GROUPED, T, GAMMA> const&, Index, Index, bool, OptionalOutput<T> const&, \
      OptionalOutput<T> const&, BackwardOptions const&);
#define FOLDNORM_BACKWARD(TEMPLATE, GROUPED, T, GAMMA)               \
  FOLDNORM_BACKWARD_OF(TEMPLATE, LayerNormPolicy, GROUPED, T, GAMMA) \
  FOLDNORM_BACKWARD_OF(TEMPLATE, RMSNormPolicy, GROUPED, T, GAMMA)

// Both norms over the scalar T, gamma and beta per feature, present or not.
#define FOLDNORM_PLAIN_INSTANCES(TEMPLATE, T)                                      \
  FOLDNORM_FORWARD(TEMPLATE, false, PlainColumns<T>, PerFeature<T>, PerFeature<T>) \
  FOLDNORM_FORWARD(TEMPLATE, false, PlainColumns<T>, PerFeature<T>, NoParameter)   \
  FOLDNORM_FORWARD(TEMPLATE, false, PlainColumns<T>, NoParameter, PerFeature<T>)   \
  FOLDNORM_FORWARD(TEMPLATE, false, PlainColumns<T>, NoParameter, NoParameter)     \
  FOLDNORM_BACKWARD(TEMPLATE, false, T, PerFeature<T>)                             \
  FOLDNORM_BACKWARD(TEMPLATE, false, T, NoParameter)

// Half or bfloat16, with parameters of their own type and in float.
#define FOLDNORM_HALF_INSTANCES(TEMPLATE, T)                                               \
  FOLDNORM_FORWARD(TEMPLATE, false, PlainColumns<T>, PerFeature<T>, PerFeature<T>)         \
  FOLDNORM_FORWARD(TEMPLATE, false, PlainColumns<T>, PerFeature<float>, PerFeature<float>) \
  FOLDNORM_FORWARD(TEMPLATE, false, PlainColumns<T>, PerFeature<T>, NoParameter)           \
  FOLDNORM_BACKWARD(TEMPLATE, false, T, PerFeature<T>)

#define FOLDNORM_GROUP_INSTANCES(TEMPLATE, T)                                     \
  FOLDNORM_FORWARD(TEMPLATE, true, PlainColumns<T>, PerFeature<T>, PerFeature<T>) \
  FOLDNORM_BACKWARD(TEMPLATE, true, T, PerFeature<T>)

#define FOLDNORM_SUM_INSTANCES(TEMPLATE, T)                                          \
  FOLDNORM_FORWARD(TEMPLATE, false, KeptSumColumns<T>, PerFeature<T>, PerFeature<T>) \
  FOLDNORM_FORWARD(TEMPLATE, false, PassingSumColumns<T>, PerFeature<T>, PerFeature<T>)

#define FOLDNORM_PER_COLUMN_INSTANCES(TEMPLATE, T)                                \
  FOLDNORM_FORWARD(TEMPLATE, false, PlainColumns<T>, PerColumn<T>, PerColumn<T>)  \
  FOLDNORM_FORWARD(TEMPLATE, false, PlainColumns<T>, PerColumn<T>, PerFeature<T>) \
  FOLDNORM_BACKWARD(TEMPLATE, false, T, PerColumn<T>)

namespace foldnorm::detail {
template <class P>
using PerFeature = ParameterColumns<P, true>;
template <class P>
using PerColumn = ParameterColumns<P, false>;

#ifndef FOLDNORM_TEST_FILE_ALONE
FOLDNORM_PLAIN_INSTANCES(extern template, float)
FOLDNORM_PLAIN_INSTANCES(extern template, double)
FOLDNORM_HALF_INSTANCES(extern template, Eigen::half)
FOLDNORM_HALF_INSTANCES(extern template, Eigen::bfloat16)
FOLDNORM_GROUP_INSTANCES(extern template, float)
FOLDNORM_GROUP_INSTANCES(extern template, double)
FOLDNORM_GROUP_INSTANCES(extern template, Eigen::half)
FOLDNORM_SUM_INSTANCES(extern template, float)
FOLDNORM_SUM_INSTANCES(extern template, double)
FOLDNORM_SUM_INSTANCES(extern template, Eigen::half)
FOLDNORM_PER_COLUMN_INSTANCES(extern template, float)
#endif
}  // namespace foldnorm::detail
