// SPDX-License-Identifier: MIT
#include "laws/instances.hpp"

namespace foldnorm::detail {
FOLDNORM_PLAIN_INSTANCES(template, double)
}  // namespace foldnorm::detail
