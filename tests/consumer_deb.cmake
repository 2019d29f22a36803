# cmake -DBUILD=... -DTO=... -DDPKG_DEB=... -P: makes the Debian package of a build folder and unpacks it.
file(REMOVE_RECURSE ${TO})
file(MAKE_DIRECTORY ${TO})
get_filename_component(cmake_folder ${CMAKE_COMMAND} DIRECTORY)
execute_process(COMMAND ${cmake_folder}/cpack -G DEB --config ${BUILD}/CPackConfig.cmake -B ${TO} COMMAND_ERROR_IS_FATAL ANY)
file(GLOB package ${TO}/*_all.deb)
execute_process(COMMAND ${DPKG_DEB} --extract ${package} ${TO} COMMAND_ERROR_IS_FATAL ANY)
