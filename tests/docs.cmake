# The code in documentation pages: programs are compiled as one executable and run, fragments are compiled (docs/code.awk).
find_program(FOLDNORM_AWK awk)
add_test(NAME docs/links COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/docs/links_test.sh ${PROJECT_SOURCE_DIR})
if(NOT FOLDNORM_AWK)
  message(STATUS "No awk: the code in docs/ is not compiled")
  return()
endif()

file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/docs/*.md
     ${PROJECT_SOURCE_DIR}/docs/tutorials/*.md)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${files})
set(programs "")
set(fragments "")
foreach(file ${files})
  file(RELATIVE_PATH page ${PROJECT_SOURCE_DIR} ${file})
  file(STRINGS ${file} code REGEX "^```cpp$")
  file(STRINGS ${file} needs_safetensors REGEX "^#include <foldnorm/safetensors/")
  file(STRINGS ${file} needs_onnx REGEX "^#include <foldnorm/onnx/")
  file(STRINGS ${file} program REGEX "^int main\\(")
  if(NOT code OR (needs_safetensors AND NOT TARGET foldnorm::safetensors) OR (needs_onnx AND NOT TARGET foldnorm::onnx))
    continue()
  elseif(program)
    list(APPEND programs ${page})
  else()
    list(APPEND fragments ${page})
  endif()
endforeach()

# foldnorm_extract_code(FILE pages...): FILE is made from these pages.
function(foldnorm_extract_code file)
  set(code_awk ${CMAKE_CURRENT_SOURCE_DIR}/docs/code.awk)
  list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE sources)
  add_custom_command(OUTPUT ${file} DEPENDS ${sources} ${code_awk} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                     COMMAND ${FOLDNORM_AWK} -f ${code_awk} ${ARGN} > ${file})
endfunction()
set(code_folder ${CMAKE_CURRENT_BINARY_DIR}/docs_code)
file(MAKE_DIRECTORY ${code_folder})

# One executable, which is told the page whose program it shall run.
add_executable(docs_programs ${code_folder}/main.cpp)
target_link_libraries(docs_programs PRIVATE foldnorm_test_instances)
set(declarations "")
set(calls "")
foreach(page ${programs})
  string(MAKE_C_IDENTIFIER ${page} identifier)
  foldnorm_extract_code(${code_folder}/${identifier}.cpp ${page})
  target_sources(docs_programs PRIVATE ${code_folder}/${identifier}.cpp)
  string(APPEND declarations "namespace program_of_${identifier} { int main(); }\n")
  string(APPEND calls "  if (page == \"${page}\") return program_of_${identifier}::main();\n")
  string(REGEX REPLACE "^docs/" "" name ${page})
  add_test(NAME docs/${name} COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:docs_programs> -DROOT=${PROJECT_SOURCE_DIR}
           -DPAGE=${page} -DAWK=${FOLDNORM_AWK} -P ${CMAKE_CURRENT_SOURCE_DIR}/docs/program_test.cmake)
endforeach()
file(CONFIGURE OUTPUT ${code_folder}/main.cpp @ONLY CONTENT [[
#include <string_view>

@declarations@
int main(int argc, char** argv) {
  std::string_view const page = argc > 1 ? argv[1] : "";
@calls@  return 2;
}
]])
# Never called. The last file: behind it some warnings are off.
foldnorm_extract_code(${code_folder}/fragments.cpp ${fragments})
target_sources(docs_programs PRIVATE ${code_folder}/fragments.cpp)

target_include_directories(docs_programs PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/docs)
foreach(component foldnorm_dev foldnorm::safetensors foldnorm::onnx)
  if(TARGET ${component})
    target_link_libraries(docs_programs PRIVATE ${component})
  endif()
endforeach()
