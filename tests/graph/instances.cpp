// SPDX-License-Identifier: MIT
#include "graph/instances.hpp"

namespace foldnorm {

template std::vector<Matrix<double>> evaluate_nodes(Graph const&, Parameters const&, NamedValues const&);
template std::vector<Matrix<float>> evaluate_nodes(Graph const&, Parameters const&, NamedValues const&);

}  // namespace foldnorm
