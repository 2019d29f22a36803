// SPDX-License-Identifier: MIT
// foldnorm/onnx/target.hpp -- who is to run a model that foldnorm writes.
#pragma once

#include <foldnorm/core/config.hpp>

#include <cstdint>

namespace foldnorm::inline FOLDNORM_ABI {

// Any runtime, with the operators of ONNX alone; or ONNX Runtime, which has an RMSNorm of its own in every opset,
// SimplifiedLayerNormalization.
enum class OnnxTarget : std::uint8_t { onnx, onnxruntime };

}  // namespace foldnorm::inline FOLDNORM_ABI
