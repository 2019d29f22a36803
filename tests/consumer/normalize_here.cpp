// SPDX-License-Identifier: MIT
// tests/consumer/normalize_here.cpp -- a program's unit of kernels, compiled once for each instruction set it may run
// on: FOLDNORM_HERE names what this copy defines.
#include <foldnorm/kernels/layer_norm.hpp>

#include <string>
#include <typeinfo>

namespace FOLDNORM_HERE {

// Columns of `features` floats; returns the name under which the linker sees this copy's foldnorm.
std::string layer_norm(float const* x, foldnorm::Index features, foldnorm::Index samples, float* y) {
  Eigen::Map<Eigen::MatrixXf const> const input(x, features, samples);
  Eigen::Map<Eigen::MatrixXf> output(y, features, samples);
  foldnorm::layer_norm(input, foldnorm::none, foldnorm::none, 1e-5f, output);
  return typeid(foldnorm::NormStatistics<float>).name();
}

}  // namespace FOLDNORM_HERE
