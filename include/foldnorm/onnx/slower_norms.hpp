// SPDX-License-Identifier: MIT
// foldnorm/onnx/slower_norms.hpp -- which norms are faster as they are: those that would become more operators.
//
//   LayerNorm                          target                          as RMSNorm
//   LayerNormalization                 ONNX Runtime; opset 23 on       one operator, and one for a beta that stays
//   LayerNormalization                 opset up to 22                  six of them
//   in primitives, with gamma, beta,   any: ONNX Runtime fuses them    one operator where it was one, and one for a
//   along the last axis                (and their RMSNorm)             beta that stays
//   in primitives, otherwise           any                             fewer of them
//
// Each operator is a pass over memory, which costs more than the mean that is saved: docs/onnx.md has measurements.
#pragma once

#include <foldnorm/core/config.hpp>
#include <foldnorm/onnx/model_index.hpp>
#include <foldnorm/onnx/network.hpp>
#include <foldnorm/onnx/target.hpp>

#include <cstdint>

namespace foldnorm::inline FOLDNORM_ABI {

// Why the norm, with its features along this axis from the end, would be slower as an RMSNorm; null if it would not.
// `keeps_beta`: it has a beta that is not zero, and that does not move into its readers.
inline char const* why_slower(OnnxNorm const& norm, std::int64_t axis, bool keeps_beta, OnnxTarget target,
                              std::int64_t opset) {
  bool const is_fused = !norm.pattern;
  bool const has_both = norm.gamma_node != OnnxIndex::nobody && norm.beta_node != OnnxIndex::nobody;
  bool const fuses = axis == -1 && has_both;  // whatever the target: who runs models of ONNX is not known
  if (is_fused && target == OnnxTarget::onnx && opset < 23) {
    return "one operator, which would become several (ONNX has RMSNormalization from opset 23 on)";
  }
  if (keeps_beta && (is_fused || fuses)) return "its beta would cost an operator of its own";
  return nullptr;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
