// SPDX-License-Identifier: MIT
// tests/catch.hpp -- Catch2 under one name: version 2 (Debian 12) and version 3 keep their headers in different places.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>  // IWYU pragma: export
#else
#include <catch2/catch.hpp>  // IWYU pragma: export
#endif
