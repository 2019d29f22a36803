// SPDX-License-Identifier: MIT
// bench/machine.hpp -- where and with what the numbers were made; it stands above them.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace bench {

struct Library;

void describe_machine(std::ostream& out, std::vector<Library> const& libraries, int threads);

}  // namespace bench
