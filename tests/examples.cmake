# What the examples promise, where they are built.
if(NOT FOLDNORM_BUILD_EXAMPLES)
  return()
endif()
add_test(NAME examples/readme COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR}
         -P ${CMAKE_CURRENT_SOURCE_DIR}/readme_test.cmake)
add_test(NAME examples/first_steps COMMAND $<TARGET_FILE:first_steps>)
set_tests_properties(examples/first_steps PROPERTIES
  PASS_REGULAR_EXPRESSION "fold ln1\ncenter W1\ncenter b1\ndifference logits (0|[0-9.]+e-1[4-9])")
add_test(NAME examples/fold_graph COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/examples/fold_graph_test.sh
         $<TARGET_FILE:fold_graph>)
if(TARGET foldnorm::onnx)
  find_file(FOLDNORM_ONNX_TEST_MODEL test_layer_normalization_2d_axis1/model.onnx PATHS /usr/share/libonnx-testdata/data/node)
  if(NOT FOLDNORM_ONNX_TEST_MODEL)
    set(FOLDNORM_ONNX_TEST_MODEL "")
  endif()
  add_executable(write_onnx_models examples/write_onnx_models.cpp)
  target_link_libraries(write_onnx_models PRIVATE foldnorm_dev foldnorm::onnx)
  add_test(NAME examples/fold_onnx COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/examples/fold_onnx_test.sh $<TARGET_FILE:fold_onnx>
           $<TARGET_FILE:write_onnx_models> ${FOLDNORM_ONNX_TEST_MODEL})
  set_tests_properties(examples/fold_onnx PROPERTIES
    ENVIRONMENT LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/leaks.txt:print_suppressions=0)
endif()
# The first python3 that has numpy: another one than Debian's may come first.
function(has_numpy result python)
  execute_process(COMMAND ${python} -c "import numpy" RESULT_VARIABLE failure OUTPUT_QUIET ERROR_QUIET)
  if(failure)
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()
find_program(FOLDNORM_PYTHON python3 VALIDATOR has_numpy)
if(FOLDNORM_PYTHON)
  add_test(NAME examples/safetensors_by_hand COMMAND ${FOLDNORM_PYTHON}
           ${PROJECT_SOURCE_DIR}/examples/safetensors_by_hand.py $<TARGET_FILE:fold_graph>)
else()
  add_test(NAME examples/safetensors_by_hand COMMAND ${CMAKE_COMMAND} -E echo "skipped: no python3-numpy")
  set_tests_properties(examples/safetensors_by_hand PROPERTIES SKIP_REGULAR_EXPRESSION "skipped")
endif()
