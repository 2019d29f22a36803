// SPDX-License-Identifier: MIT
#include "laws/instances.hpp"

namespace foldnorm::detail {
FOLDNORM_HALF_INSTANCES(template, Eigen::half)
FOLDNORM_HALF_INSTANCES(template, Eigen::bfloat16)
}  // namespace foldnorm::detail
