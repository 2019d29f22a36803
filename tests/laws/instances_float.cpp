// SPDX-License-Identifier: MIT
#include "laws/instances.hpp"

namespace foldnorm::detail {
FOLDNORM_PLAIN_INSTANCES(template, float)
}  // namespace foldnorm::detail
