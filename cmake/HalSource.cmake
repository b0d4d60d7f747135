# SPDX-License-Identifier: Apache-2.0
#
# What libhal is built from, in one archive that is installed with it: whoever has the wheel can make
# libhal.a for another machine (docs/light.md).

set(hal_source_archive "${PROJECT_BINARY_DIR}/libhal-${PROJECT_VERSION}.tar.xz")
file(GLOB_RECURSE hal_source_files CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}"
     CMakeLists.txt LICENSE cmake/* csrc/* drivers/* include/*)
list(SORT hal_source_files)
list(JOIN hal_source_files "\n" hal_source_list)
file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/source.txt" CONTENT "${hal_source_list}\n")
add_custom_command(OUTPUT "${hal_source_archive}" VERBATIM DEPENDS ${hal_source_files}
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
    COMMAND ${CMAKE_COMMAND} -E tar cJf "${hal_source_archive}" --mtime=2026-01-01
            "--files-from=${PROJECT_BINARY_DIR}/source.txt")
add_custom_target(hal_source ALL DEPENDS "${hal_source_archive}")
install(FILES "${hal_source_archive}" DESTINATION ${CMAKE_INSTALL_DATADIR}/hal)
