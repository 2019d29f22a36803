# cmake -DROOT=... -P readme_test.cmake: the program that README shows is examples/first_steps.cpp, which is compiled and run.
file(READ ${ROOT}/README.md readme)
file(READ ${ROOT}/examples/first_steps.cpp program)
string(FIND "${readme}" "```cpp\n${program}```\n" found)
if(found EQUAL -1)
  message(FATAL_ERROR "README.md does not show examples/first_steps.cpp as it is")
endif()
