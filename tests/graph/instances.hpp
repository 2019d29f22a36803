// SPDX-License-Identifier: MIT
// tests/graph/instances.hpp -- the interpreter, compiled once for all tests: it takes some ten seconds.
#pragma once

#include <foldnorm/graph/evaluate.hpp>

#include <vector>

#include "laws/instances.hpp"

namespace foldnorm {

#ifndef FOLDNORM_TEST_FILE_ALONE
extern template std::vector<Matrix<double>> evaluate_nodes(Graph const&, Parameters const&, NamedValues const&);
extern template std::vector<Matrix<float>> evaluate_nodes(Graph const&, Parameters const&, NamedValues const&);
#endif

}  // namespace foldnorm
