// SPDX-License-Identifier: MIT
// tests/consumer/single_header.cpp -- a user's program with the single header, alone in its folder.
#include "main.cpp"

// An installed foldnorm is found in any case, behind the folder of the single header.
#if __has_include(<foldnorm/core/types.hpp>) && !__has_include("/usr/include/foldnorm/core/types.hpp") && \
    !__has_include("/usr/local/include/foldnorm/core/types.hpp")
#error "the other headers are found, too: this would not test the single one"
#endif
