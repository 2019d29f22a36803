# FOLDNORM_ONNXRUNTIME_LIBRARY: ONNX Runtime, an installed one or npm's. Programs load it when they run, so that they are
# built without it, too (examples/onnx/api.hpp).
#   npm install --prefix build/npm --ignore-scripts onnxruntime-node
include_guard(GLOBAL)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(npm_processor arm64)
else()
  set(npm_processor x64)
endif()
file(GLOB npm_onnxruntime
  ${PROJECT_SOURCE_DIR}/build/npm/node_modules/onnxruntime-node/bin/napi-v*/linux/${npm_processor})
find_library(FOLDNORM_ONNXRUNTIME_LIBRARY NAMES onnxruntime libonnxruntime.so.1 HINTS ${npm_onnxruntime})
mark_as_advanced(FOLDNORM_ONNXRUNTIME_LIBRARY)

# "onnx/onnx_runtime.hpp" for a target.
add_library(foldnorm_onnxruntime INTERFACE)
target_include_directories(foldnorm_onnxruntime INTERFACE ${PROJECT_SOURCE_DIR}/examples)
target_link_libraries(foldnorm_onnxruntime INTERFACE ${CMAKE_DL_LIBS})
if(FOLDNORM_ONNXRUNTIME_LIBRARY)
  target_compile_definitions(foldnorm_onnxruntime INTERFACE
    FOLDNORM_ONNXRUNTIME_LIBRARY="${FOLDNORM_ONNXRUNTIME_LIBRARY}")
endif()
