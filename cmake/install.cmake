# What `cmake --install` puts in place: the headers, a package that find_package(foldnorm) finds and one for pkg-config;
# and, as a component
# of its own (foldnorm_tools), the programs.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/foldnorm)  # the same for every architecture
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME foldnorm_headers)
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
  ${CMAKE_CURRENT_LIST_DIR}/find_onnx_proto.cmake DESTINATION ${package_dir})
# The prefix is found from where the file lies, so that an installed tree may be moved, unless it lies at a place that was
# given in full.
set(pc_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)
if(IS_ABSOLUTE ${pc_dir})
  set(foldnorm_pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH foldnorm_pc_prefix /prefix/${pc_dir} /prefix)
  string(REGEX REPLACE "/$" "" foldnorm_pc_prefix "\${pcfiledir}/${foldnorm_pc_prefix}")
endif()
cmake_path(APPEND foldnorm_pc_includedir "\${prefix}" ${CMAKE_INSTALL_INCLUDEDIR})  # or that alone, if it is absolute
configure_file(${CMAKE_CURRENT_LIST_DIR}/foldnorm.pc.in ${PROJECT_BINARY_DIR}/foldnorm.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/foldnorm.pc DESTINATION ${pc_dir})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
foreach(tool fold_graph fold_onnx)
  if(TARGET ${tool})
    install(TARGETS ${tool} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT foldnorm_tools)
  endif()
endforeach()

# `cpack -G DEB`: one package of the headers, the same for every architecture.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME libfoldnorm-dev)
set(CPACK_PACKAGE_VENDOR "The foldnorm developers")
set(CPACK_PACKAGE_CONTACT "The foldnorm developers")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL foldnorm_headers)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libeigen3-dev (>= 3.4)")
set(suggested "")
if(TARGET foldnorm_safetensors)
  list(APPEND suggested nlohmann-json3-dev)
endif()
if(TARGET foldnorm_onnx)
  list(APPEND suggested libonnx-dev libprotobuf-dev)
endif()
list(JOIN suggested ", " CPACK_DEBIAN_PACKAGE_SUGGESTS)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
include(CPack)
