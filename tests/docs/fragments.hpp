// What the code in docs/ is compiled with: the kernels of layers, whitening and the interpreter are compiled once for
// all tests; and what fragments take for granted. Those are never run, so that nothing defines these.
#pragma once

#include <foldnorm/foldnorm.hpp>

#include "graph/instances.hpp"
#include "layers/instances.hpp"
#include "whitening/instances.hpp"

#include <iostream>
#include <vector>

namespace given {

extern foldnorm::Matrix<float> x, y, dx, dy, weight;
extern foldnorm::Vector<float> bias, dgamma, dbeta;
extern foldnorm::Matrix<double> samples;
extern std::vector<int> labels;
extern foldnorm::Graph graph;
extern foldnorm::Parameters parameters;
extern foldnorm::FoldReport report;

}  // namespace given
