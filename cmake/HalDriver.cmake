# SPDX-License-Identifier: Apache-2.0
#
# hal_add_driver(NAME SOURCE...)
#
# Builds the driver plug-in NAME.so from C or C++ sources, as the target hal_driver_NAME, and
# installs it into the driver folder below the prefix (HAL_DRIVER_INSTALL_DIR to change it).
# It works alike inside this project and after find_package(hal):
#
#   find_package(hal REQUIRED)
#   hal_add_driver(thermo thermo.c)

include(GNUInstallDirs)
set(HAL_DRIVER_INSTALL_DIR "${CMAKE_INSTALL_LIBDIR}/hal/drivers" CACHE STRING
    "Where driver plug-ins are installed, below the prefix")

function(hal_add_driver name)
    if(NOT name MATCHES "^[A-Za-z0-9][A-Za-z0-9_.-]*$")
        message(FATAL_ERROR "hal_add_driver: \"${name}\" is no driver name (a letter or digit, "
                            "then letters, digits, '_', '-' or '.')")
    endif()
    if(NOT ARGN)
        message(FATAL_ERROR "hal_add_driver(${name}): no sources given")
    endif()
    set(target hal_driver_${name})
    add_library(${target} MODULE ${ARGN})
    target_link_libraries(${target} PRIVATE hal::hal)
    target_link_options(${target} PRIVATE LINKER:-z,relro LINKER:-z,now LINKER:--as-needed)
    # Only the entry symbol (HAL_PLUGIN) is visible, so two drivers never see each other's names.
    set_target_properties(${target} PROPERTIES
        PREFIX "" SUFFIX ".so" OUTPUT_NAME ${name}
        C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
        INSTALL_RPATH "$ORIGIN/../..")
    install(TARGETS ${target} LIBRARY DESTINATION ${HAL_DRIVER_INSTALL_DIR})
endfunction()
