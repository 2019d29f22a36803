// SPDX-License-Identifier: MIT
// onnx/api.hpp -- the C API of ONNX Runtime without its header: found when the program runs, called by position.
//
// Packages that ship the library without its header are common (npm's onnxruntime-node). OrtApi is a struct of function
// pointers that only ever grows, so that positions stay.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace onnx_runtime::detail {

enum Function {
  get_error_message = 2,
  create_env = 3,
  create_session = 7,
  create_session_from_array = 8,
  run = 9,
  create_session_options = 10,
  set_optimized_model_path = 11,
  enable_profiling = 14,
  set_intra_op_num_threads = 24,
  get_input_count = 30,
  get_output_count = 31,
  get_input_type = 33,
  get_output_type = 34,
  get_input_name = 36,
  get_output_name = 37,
  create_tensor_with_data = 49,
  get_tensor_data = 51,
  cast_type_to_tensor = 55,
  get_element_type = 60,
  get_dimension_count = 61,
  get_dimensions = 62,
  get_symbolic_dimensions = 63,
  get_tensor_type_and_shape = 65,
  create_cpu_memory_info = 69,
  allocator_free = 76,
  get_default_allocator = 78,
  release_status = 93,
  release_session = 95,
  release_value = 96,
  release_type = 98,
  release_tensor_type_and_shape = 99,
  release_session_options = 100,
  end_profiling = 110,
  add_session_config_entry = 130,
};

struct ApiBase {
  void* const* (*get_api)(std::uint32_t version);
  char const* (*version)();
};

inline ApiBase const& load() {
  std::vector<std::string> paths{"libonnxruntime.so.1", "libonnxruntime.so"};
#ifdef FOLDNORM_ONNXRUNTIME_LIBRARY
  paths.insert(paths.begin(), FOLDNORM_ONNXRUNTIME_LIBRARY);
#endif
  if (char const* const chosen = std::getenv("FOLDNORM_ONNXRUNTIME")) paths = {chosen};
  std::string tried;
  for (std::string const& path : paths) {
    void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* const function = library ? ::dlsym(library, "OrtGetApiBase") : nullptr;
    if (function) return *reinterpret_cast<ApiBase const* (*)()>(function)();
    tried += "\n  " + std::string(::dlerror());
  }
  throw std::runtime_error(
      "ONNX Runtime was not found. Install it with: npm install --prefix build/npm --ignore-scripts onnxruntime-node, "
      "and run cmake again; or name the library in the environment variable FOLDNORM_ONNXRUNTIME. Tried:" +
      tried);
}

inline ApiBase const& base() {
  static ApiBase const& loaded = load();
  return loaded;
}

// Opaque objects are void*; a function of the API returns a status, null if all went well.
template <class... Arguments>
void* call(Function function, Arguments... arguments) {
  static void* const* const api = base().get_api(8);  // old, and enough
  return reinterpret_cast<void* (*)(Arguments...)>(api[function])(arguments...);
}
template <class... Arguments>
void check(Function function, Arguments... arguments) {
  void* const status = call(function, arguments...);
  if (!status) return;
  std::string const message = static_cast<char const*>(call(get_error_message, static_cast<void const*>(status)));
  call(release_status, status);
  throw std::runtime_error("ONNX Runtime: " + message);
}
template <class Result = void*, class... Arguments>
Result get(Function function, Arguments... arguments) {
  Result result{};
  check(function, arguments..., &result);
  return result;
}

}  // namespace onnx_runtime::detail
