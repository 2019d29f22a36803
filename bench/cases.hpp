// SPDX-License-Identifier: MIT
// bench/cases.hpp -- which operations are timed at which shapes.
#pragma once

#include "problem.hpp"

#include <vector>

namespace bench {

// In the order of the tables: cases of one group() are neighbours.
std::vector<Case> short_cases();
std::vector<Case> full_cases();

}  // namespace bench
