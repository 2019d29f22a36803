# The consumer project against an installed copy, as a subdirectory, and with plain -I.
set(consumer_prefix ${CMAKE_CURRENT_BINARY_DIR}/consumer/prefix)
add_test(NAME consumer/install
  COMMAND ${CMAKE_COMMAND} --install ${PROJECT_BINARY_DIR} --prefix ${consumer_prefix})
set_tests_properties(consumer/install PROPERTIES FIXTURES_SETUP installed_foldnorm)

foreach(way package subdirectory include)
  add_test(NAME consumer/${way} COMMAND ${CMAKE_CTEST_COMMAND}
    --build-and-test ${CMAKE_CURRENT_SOURCE_DIR}/consumer ${CMAKE_CURRENT_BINARY_DIR}/consumer/${way}
    --build-generator ${CMAKE_GENERATOR}
    --build-options -DFOLDNORM_FROM=${way} -DFOLDNORM_SOURCE=${PROJECT_SOURCE_DIR} -DCMAKE_PREFIX_PATH=${consumer_prefix}
                    -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER} -DCMAKE_CXX_FLAGS=${CMAKE_CXX_FLAGS}
    --test-command ${CMAKE_CTEST_COMMAND} --output-on-failure)
endforeach()
set_tests_properties(consumer/package PROPERTIES FIXTURES_REQUIRED installed_foldnorm)
