# cmake -DPROGRAM=... -DROOT=... -DPAGE=... -DAWK=... -P program_test.cmake: the page's program ends well, and prints what the
# page says that it prints, if it does.
execute_process(COMMAND ${PROGRAM} ${PAGE} OUTPUT_VARIABLE printed RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${PAGE}: the program's exit status is ${status}. It printed\n${printed}")
endif()
execute_process(COMMAND ${AWK} -v output=1 -f ${CMAKE_CURRENT_LIST_DIR}/code.awk ${ROOT}/${PAGE} OUTPUT_VARIABLE shown)
if(shown AND NOT shown STREQUAL printed)
  message(FATAL_ERROR "${PAGE} shows\n${shown}and its program prints\n${printed}")
endif()
