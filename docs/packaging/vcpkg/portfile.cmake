# An overlay port: copy this folder to OVERLAYS/foldnorm and call vcpkg install foldnorm --overlay-ports=OVERLAYS with
# FOLDNORM_SOURCE set to a checkout. Headers only.
if(NOT DEFINED ENV{FOLDNORM_SOURCE})
  message(FATAL_ERROR "Set the environment variable FOLDNORM_SOURCE to a checkout of foldnorm")
endif()
set(SOURCE_PATH $ENV{FOLDNORM_SOURCE})
vcpkg_check_features(OUT_FEATURE_OPTIONS FEATURE_OPTIONS FEATURES safetensors FOLDNORM_SAFETENSORS)
set(VCPKG_BUILD_TYPE release)
vcpkg_cmake_configure(
  SOURCE_PATH ${SOURCE_PATH}
  OPTIONS -DFOLDNORM_BUILD_TESTS=OFF -DFOLDNORM_BUILD_EXAMPLES=OFF ${FEATURE_OPTIONS})
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME foldnorm CONFIG_PATH share/cmake/foldnorm)
vcpkg_fixup_pkgconfig()
file(REMOVE_RECURSE ${CURRENT_PACKAGES_DIR}/lib ${CURRENT_PACKAGES_DIR}/debug)
vcpkg_install_copyright(FILE_LIST ${SOURCE_PATH}/LICENSE)
