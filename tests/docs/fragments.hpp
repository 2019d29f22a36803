// What the code in docs/ is compiled with: the kernels of layers, whitening and the interpreter are compiled once for
// all tests; and what fragments take for granted. Nobody calls them, but g++ keeps them where it does not optimize, so
// that these need definitions.
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
