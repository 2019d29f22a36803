// SPDX-License-Identifier: MIT
#include "cases.hpp"

namespace bench {
namespace {

using Shapes = std::vector<Shape>;

// One token; a short sequence of a base-size transformer, in cache; larger; odd widths; 4096 features; beyond the
// caches; few features, as in vision models and the groups of a grouped norm.
Shapes const full_forward{{768, 1},    {768, 128},    {1024, 512}, {769, 2048}, {1000, 2048}, {4096, 2048},
                          {768, 8192}, {4096, 16384}, {16, 65536}, {32, 65536}, {64, 65536},  {128, 65536}};
Shapes const short_forward{{768, 1}, {768, 128}, {1024, 512}, {769, 2048}, {768, 8192}, {64, 65536}};
Shapes const backward{{1024, 512}, {768, 8192}, {769, 8192}};
Shapes const residual{{1024, 512}, {768, 8192}};
Shapes const grouped{{768, 512}};
Shapes const narrow{{768, 128}};

std::vector<Case> cases(Shapes const& forward) {
  std::vector<Case> result;
  auto add = [&](Operation operation, Shapes const& shapes, Scalar scalar = Scalar::f32) {
    for (Shape shape : shapes) result.push_back({operation, scalar, shape});
  };
  add(Operation::layer_norm, forward);
  add(Operation::rms_norm, forward);
  add(Operation::layer_norm_backward, backward);
  add(Operation::rms_norm_backward, backward);
  add(Operation::add_layer_norm, residual);
  add(Operation::add_rms_norm, residual);
  add(Operation::parallel_layer_norm, grouped);
  for (Scalar scalar : {Scalar::f16, Scalar::bf16}) {
    add(Operation::layer_norm, narrow, scalar);
    add(Operation::rms_norm, narrow, scalar);
  }
  return result;
}

}  // namespace

std::vector<Case> short_cases() { return cases(short_forward); }
std::vector<Case> full_cases() { return cases(full_forward); }

}  // namespace bench
