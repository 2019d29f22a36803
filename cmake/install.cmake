# What `cmake --install` puts in place: the headers and a package that find_package(foldnorm) finds.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/foldnorm)
install(TARGETS foldnorm EXPORT foldnorm FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT foldnorm NAMESPACE foldnorm:: FILE foldnorm-targets.cmake DESTINATION ${package_dir})
if(TARGET foldnorm_safetensors)
  install(TARGETS foldnorm_safetensors EXPORT foldnorm-safetensors
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT foldnorm-safetensors NAMESPACE foldnorm:: FILE foldnorm-safetensors-targets.cmake
    DESTINATION ${package_dir})
endif()
if(TARGET foldnorm_onnx)
  install(TARGETS foldnorm_onnx EXPORT foldnorm-onnx FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT foldnorm-onnx NAMESPACE foldnorm:: FILE foldnorm-onnx-targets.cmake DESTINATION ${package_dir})
endif()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/foldnorm-config.cmake.in
  ${PROJECT_BINARY_DIR}/foldnorm-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/foldnorm-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/foldnorm-config.cmake ${PROJECT_BINARY_DIR}/foldnorm-config-version.cmake
  DESTINATION ${package_dir})
if(TARGET fold_graph)
  install(TARGETS fold_graph RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
