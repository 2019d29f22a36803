// SPDX-License-Identifier: MIT
// foldnorm/constructions/detail/varying_features.hpp -- which features tell samples apart at all.
#pragma once

#include <foldnorm/core/types.hpp>

namespace foldnorm::detail {

// Of samples n x m, m >= 1: true where not all values are equal. Not by the deviation, since the mean of equal values
// is rounded. A direction has to give the others weight 0: a large constant would cost every projection its digits.
inline Eigen::Array<bool, Eigen::Dynamic, 1> varying_features(ConstMatrixRef<double> const& samples) {
  return samples.rowwise().maxCoeff().array() > samples.rowwise().minCoeff().array();
}

}  // namespace foldnorm::detail
