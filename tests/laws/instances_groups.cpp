// SPDX-License-Identifier: MIT
#include "laws/instances.hpp"

namespace foldnorm::detail {
FOLDNORM_GROUP_INSTANCES(template, float)
FOLDNORM_GROUP_INSTANCES(template, double)
FOLDNORM_GROUP_INSTANCES(template, Eigen::half)
}  // namespace foldnorm::detail
