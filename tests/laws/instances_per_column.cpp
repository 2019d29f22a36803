// SPDX-License-Identifier: MIT
#include "laws/instances.hpp"

namespace foldnorm::detail {
FOLDNORM_PER_COLUMN_INSTANCES(template, float)
}  // namespace foldnorm::detail
