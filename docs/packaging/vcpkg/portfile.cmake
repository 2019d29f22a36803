# An overlay port, in a checkout, of what is checked out:
#   vcpkg install foldnorm --overlay-ports=docs/packaging/vcpkg --binarysource=clear
# Without --binarysource=clear vcpkg may take what it built of an older checkout: it looks at this folder's files only.
# Headers only.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
vcpkg_check_features(OUT_FEATURE_OPTIONS FEATURE_OPTIONS FEATURES safetensors FOLDNORM_SAFETENSORS)
set(VCPKG_BUILD_TYPE release)
vcpkg_cmake_configure(
  SOURCE_PATH ${SOURCE_PATH}
  OPTIONS -DFOLDNORM_BUILD_TESTS=OFF -DFOLDNORM_BUILD_EXAMPLES=OFF -DFOLDNORM_ONNX=OFF ${FEATURE_OPTIONS})
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME foldnorm CONFIG_PATH share/cmake/foldnorm)
vcpkg_fixup_pkgconfig()
file(REMOVE_RECURSE ${CURRENT_PACKAGES_DIR}/lib ${CURRENT_PACKAGES_DIR}/debug)
vcpkg_install_copyright(FILE_LIST ${SOURCE_PATH}/LICENSE)
