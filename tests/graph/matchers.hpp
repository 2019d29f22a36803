// SPDX-License-Identifier: MIT
// tests/graph/matchers.hpp -- "the message contains", which Catch2 calls differently in versions 2 and 3.
#pragma once

#include "catch.hpp"

#include <string>

namespace foldnorm::testing {

#if CATCH_VERSION_MAJOR >= 3
inline auto Contains(std::string const& part) { return Catch::Matchers::ContainsSubstring(part); }
#else
inline auto Contains(std::string const& part) { return Catch::Matchers::Contains(part); }
#endif

}  // namespace foldnorm::testing
