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
