# A unit compiled with -ffast-math, or the part of it that removes NaN, is refused with a sentence that says so.
foreach(flag -ffast-math -ffinite-math-only)
  string(REPLACE "-f" "" name ${flag})
  add_test(NAME core/refuses_${name}
    COMMAND ${CMAKE_CXX_COMPILER} -std=c++20 -fsyntax-only ${flag} -I${PROJECT_SOURCE_DIR}/include
            "-isystem$<JOIN:$<TARGET_PROPERTY:Eigen3::Eigen,INTERFACE_INCLUDE_DIRECTORIES>,;-isystem>"
            ${PROJECT_SOURCE_DIR}/include/foldnorm/core/types.hpp
    COMMAND_EXPAND_LISTS)
  set_tests_properties(core/refuses_${name} PROPERTIES
    PASS_REGULAR_EXPRESSION "foldnorm does not support -ffast-math .nor -ffinite-math-only.: compile this translation unit")
endforeach()
