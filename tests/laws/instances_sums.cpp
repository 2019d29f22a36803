// SPDX-License-Identifier: MIT
#include "laws/instances.hpp"

namespace foldnorm::detail {
FOLDNORM_SUM_INSTANCES(template, float)
FOLDNORM_SUM_INSTANCES(template, double)
FOLDNORM_SUM_INSTANCES(template, Eigen::half)
}  // namespace foldnorm::detail
