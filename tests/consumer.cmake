# The consumer project against an installed copy (by find_package and by pkg-config), against what a Debian package of it
# unpacks to, as a subdirectory, with plain -I, and as a single header.
set(consumer_prefix ${CMAKE_CURRENT_BINARY_DIR}/consumer/prefix)
add_test(NAME consumer/install
  COMMAND ${CMAKE_COMMAND} --install ${PROJECT_BINARY_DIR} --prefix ${consumer_prefix})
set_tests_properties(consumer/install PROPERTIES FIXTURES_SETUP installed_foldnorm)
add_test(NAME consumer/installed_headers COMMAND ${CMAKE_COMMAND} -DHEADERS=${PROJECT_SOURCE_DIR}/include
  -DINSTALLED=${consumer_prefix}/include -DONNX=${FOLDNORM_ONNX} -DSAFETENSORS=${FOLDNORM_SAFETENSORS}
  -P ${CMAKE_CURRENT_SOURCE_DIR}/installed_headers_test.cmake)

# foldnorm_add_consumer_test(NAME WAY WHERE [PROGRAM [options]]): see consumer/CMakeLists.txt
function(foldnorm_add_consumer_test name way where)
  set(program main.cpp)
  if(ARGC GREATER 3)
    list(POP_FRONT ARGN program)
  endif()
  add_test(NAME consumer/${name} COMMAND ${CMAKE_CTEST_COMMAND}
    --build-and-test ${CMAKE_CURRENT_SOURCE_DIR}/consumer ${CMAKE_CURRENT_BINARY_DIR}/consumer/${name}
    --build-generator ${CMAKE_GENERATOR}
    --build-options -DFOLDNORM_FROM=${way} -DFOLDNORM_PROGRAM=${program} -DFOLDNORM_AT=${where} ${ARGN}
                    -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER} -DCMAKE_CXX_FLAGS=${CMAKE_CXX_FLAGS}
                    -DEigen3_DIR=${Eigen3_DIR}
    --test-command ${CMAKE_CTEST_COMMAND} --output-on-failure)
  set_tests_properties(consumer/${name} PROPERTIES COST 60)  # seconds: the longest first, so that none runs alone at the end
endfunction()
foldnorm_add_consumer_test(package package ${consumer_prefix} small.cpp -DFOLDNORM_COMPONENTS=ON)
foldnorm_add_consumer_test(include include ${PROJECT_SOURCE_DIR}/include)
foldnorm_add_consumer_test(subdirectory subdirectory ${PROJECT_SOURCE_DIR} small.cpp)

find_program(FOLDNORM_AWK awk)
if(FOLDNORM_AWK)
  set(single_header ${CMAKE_CURRENT_BINARY_DIR}/consumer/single_header)
  file(MAKE_DIRECTORY ${single_header}/foldnorm)
  add_test(NAME consumer/write_single_header COMMAND ${FOLDNORM_AWK}
    -v headers=${PROJECT_SOURCE_DIR}/include -v license=${PROJECT_SOURCE_DIR}/LICENSE
    -v to=${single_header}/foldnorm/foldnorm.hpp
    -f ${PROJECT_SOURCE_DIR}/cmake/single_header.awk ${PROJECT_SOURCE_DIR}/include/foldnorm/foldnorm.hpp)
  set_tests_properties(consumer/write_single_header PROPERTIES FIXTURES_SETUP single_header)
  foldnorm_add_consumer_test(single_header include ${single_header} single_header.cpp)
  set_tests_properties(consumer/single_header PROPERTIES FIXTURES_REQUIRED single_header)
endif()
set(needs_installed consumer/package consumer/installed_headers)
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  foldnorm_add_consumer_test(pkgconfig pkgconfig ${consumer_prefix} small.cpp)
  list(APPEND needs_installed consumer/pkgconfig)
endif()
set_tests_properties(${needs_installed} PROPERTIES FIXTURES_REQUIRED installed_foldnorm)

find_program(FOLDNORM_DPKG_DEB dpkg-deb)
if(FOLDNORM_DPKG_DEB)
  set(consumer_deb ${CMAKE_CURRENT_BINARY_DIR}/consumer/deb_package)
  add_test(NAME consumer/deb_package COMMAND ${CMAKE_COMMAND} -DBUILD=${PROJECT_BINARY_DIR} -DTO=${consumer_deb}
    -DDPKG_DEB=${FOLDNORM_DPKG_DEB} -P ${CMAKE_CURRENT_SOURCE_DIR}/consumer_deb.cmake)
  set_tests_properties(consumer/deb_package PROPERTIES FIXTURES_SETUP unpacked_foldnorm)
  foldnorm_add_consumer_test(deb package ${consumer_deb}/usr small.cpp)
  set_tests_properties(consumer/deb PROPERTIES FIXTURES_REQUIRED unpacked_foldnorm)
endif()
