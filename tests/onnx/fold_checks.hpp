// SPDX-License-Identifier: MIT
// tests/onnx/fold_checks.hpp -- whether a model folds as it should, and stays the same function whatever is asked for.
#pragma once

#include <foldnorm/onnx/fold_model.hpp>

#include "catch.hpp"
#include "graph/matchers.hpp"
#include "onnx/onnx_testing.hpp"

#include <string>

namespace foldnorm::testing {

// As in fold_model_test.cpp; tokens that are sums of many, or of weights that are, have rounding errors of their size.
inline constexpr double operator_tolerance = 1e-10;

// Every combination of options keeps the function.
inline void check_folds(::onnx::ModelProto const& model, TestTensors const& inputs, std::string const& report) {
  CHECK_THAT(FoldedTestModel(model).report(), Contains(report));
  for (int k = 0; k < 8; ++k) {
    OnnxFoldOptions options;
    options.affine = (k & 1) != 0;
    options.insert_centering = (k & 2) != 0;
    options.target = (k & 4) != 0 ? OnnxTarget::onnxruntime : OnnxTarget::onnx;
    FoldedTestModel const folded(model, options);
    INFO("options " << k << "\n" << folded.report());
    CHECK(folded.error(inputs) < operator_tolerance);
  }
}
// Of a model that reads x [2, 4, 8], features last.
inline TestTensors operator_inputs() { return {{"x", random_tensor({2, 4, 8}, 7)}}; }

}  // namespace foldnorm::testing
