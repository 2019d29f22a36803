// SPDX-License-Identifier: MIT
// foldnorm/onnx/slower_norms.hpp -- which norms are faster as they are: those that would become more operators.
//
//   the norm                           where                           what it would become
//   LayerNormalization                 opset up to 22, for ONNX        an RMSNorm in primitives, six of them
//   LayerNormalization, or primitives  anywhere                        one operator where it was one, and another for a
//   that ONNX Runtime joins into it                                    beta that stays, or for the bias that a layer
//                                                                      gets where beta goes
//   such primitives                    gamma goes, and the norm        primitives that are not joined
//                                      stays written out
//
// Each operator is a pass over memory, which costs more than the mean that is saved: docs/onnx.md has measurements.
#pragma once

#include <foldnorm/core/config.hpp>
#include <foldnorm/onnx/network.hpp>
#include <foldnorm/onnx/target.hpp>

#include <cstdint>

namespace foldnorm::inline FOLDNORM_ABI {

// What a fold would do to a norm.
struct NormFate {
  bool loses_mean = false;
  bool loses_gamma = false;
  bool keeps_beta = false;  // has one that is not zero, and it does not move into the readers
  bool adds_bias = false;   // it moves into one that has no bias yet
};

// Why the norm, with its features along this axis from the end, would be slower so; null if it would not.
inline char const* why_slower(OnnxNorm const& norm, std::int64_t axis, NormFate const& fate, OnnxTarget target,
                              std::int64_t opset) {
  auto const& pattern = norm.pattern;
  bool const has_gamma = norm.gamma_node != OnnxIndex::nobody, has_beta = norm.beta_node != OnnxIndex::nobody;
  // Whatever the target: who runs models of ONNX is not known.
  bool const is_joined = pattern && axis == -1 && has_gamma && (has_beta || !pattern->subtracts_mean);
  bool const is_one_operator = !pattern || is_joined;
  if (fate.loses_mean && !pattern && target == OnnxTarget::onnx && opset < 23) {
    return "one operator, which would become several (ONNX has RMSNormalization from opset 23 on)";
  }
  if (is_one_operator && fate.loses_mean && fate.keeps_beta) return "its beta would cost an operator of its own";
  if (is_one_operator && fate.adds_bias) return "its beta would give a layer a bias, an operator of its own";
  bool const stays_written_out = !fate.loses_mean || target == OnnxTarget::onnx;
  if (is_joined && fate.loses_gamma && stays_written_out) return "without gamma, its operators are not joined into one";
  return nullptr;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
