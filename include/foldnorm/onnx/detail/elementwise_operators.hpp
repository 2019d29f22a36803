// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/elementwise_operators.hpp -- ONNX operators whose value is as long, along each axis, as what
// they read.
#pragma once

#include <string_view>
#include <unordered_set>

namespace foldnorm::detail {

// Of the first input's shape.
inline bool keeps_shape(std::string_view op) {
  // clang-format off
  static std::unordered_set<std::string_view> const operators{
      "Identity", "Cast", "Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Erf", "Gelu", "HardSwish", "Mish",
      "HardSigmoid", "Softplus", "Softsign", "Clip", "Sqrt", "Exp", "Log", "Neg", "Abs", "Softmax", "LogSoftmax",
      "Reciprocal", "Dropout", "LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization", "PRelu",
      "InstanceNormalization", "GroupNormalization", "Not", "Floor", "Ceil", "Round", "Sign", "LpNormalization",
      "BatchNormalization"};
  // clang-format on
  return operators.contains(op);
}
// Of the shape that all inputs are broadcast to.
inline bool broadcasts(std::string_view op) {
  static std::unordered_set<std::string_view> const operators{"Add",   "Sub",   "Mul",     "Div",  "Pow", "Max", "Min",
                                                              "Where", "Equal", "Greater", "Less", "And", "Or",  "Mod"};
  return operators.contains(op);
}

}  // namespace foldnorm::detail
