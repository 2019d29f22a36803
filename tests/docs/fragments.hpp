// What the code in docs/ is compiled with: the kernels of layers, whitening and the interpreter are compiled once for
// all tests; and what fragments take for granted, defined though no fragment is ever called: a lambda's or a virtual
// function's code can remain without optimization.
#pragma once

#include <foldnorm/foldnorm.hpp>

#include "graph/instances.hpp"
#include "layers/instances.hpp"
#include "whitening/instances.hpp"

#include <iostream>
#include <vector>

namespace given {

inline foldnorm::Matrix<float> x, y, dx, dy, weight;
inline foldnorm::Vector<float> bias, dgamma, dbeta;
inline foldnorm::Matrix<double> samples;
inline std::vector<int> labels;
inline foldnorm::Graph graph;
inline foldnorm::Parameters parameters;
inline foldnorm::FoldReport report;

}  // namespace given
