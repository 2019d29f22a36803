// SPDX-License-Identifier: MIT
// onnx/optimized_model.hpp -- what ONNX Runtime makes of a model before it runs it.
#pragma once

#include "certificate.hpp"
#include "onnx_runtime.hpp"
#include "temporary_folder.hpp"

#include <foldnorm/onnx/model_file.hpp>

#include <onnx/onnx_pb.h>

#include <filesystem>
#include <string>

namespace foldnorm::onnx_models {

// There norms that are written out are operators, too. Throws std::runtime_error where it cannot be loaded.
inline onnx::ModelProto optimized_model(LocatedModel const& located) {
  TemporaryFolder const folder;
  std::string const path = (folder.path() / "optimized.onnx").string();
  onnx_runtime::Session::from_bytes(
      located.model.SerializeAsString(),
      {.data_folder = std::filesystem::absolute(located.folder).string(), .optimized_path = path});
  return OnnxFile(path).model();
}

}  // namespace foldnorm::onnx_models
