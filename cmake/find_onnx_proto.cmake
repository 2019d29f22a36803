# The target onnx_proto, ONNX's protocol buffers, whatever ONNX calls it: ONNX::onnx_proto from 1.16 on. Part of the installed
# package, too. Sets foldnorm_onnx_proto_found. ONNX's own package stops where protobuf is missing, so that is asked first.
set(foldnorm_onnx_proto_found FALSE)
find_package(Protobuf QUIET)
if(Protobuf_FOUND)
  find_package(ONNX QUIET)
endif()
if(Protobuf_FOUND AND ONNX_FOUND)
  set(foldnorm_onnx_proto_found TRUE)
  if(NOT TARGET onnx_proto AND TARGET ONNX::onnx_proto)
    add_library(onnx_proto INTERFACE IMPORTED)
    target_link_libraries(onnx_proto INTERFACE ONNX::onnx_proto)
  endif()
endif()
