# SPDX-License-Identifier: Apache-2.0
#
# libhal.a: libhal with its drivers linked in, for programs without shared objects. It is made of the
# objects of libhal.so and of the plug-ins, so it costs no second compilation. In each part only what
# is exported stays visible: drivers do not see each other's names, nor does the program.

set(hal_static_dir "${PROJECT_BINARY_DIR}/static")
file(MAKE_DIRECTORY "${hal_static_dir}")

# The objects of a target joined to one, whose hidden symbols become local; more for objcopy.
function(hal_join out)
    cmake_parse_arguments(PARSE_ARGV 1 join "" "" "OBJECTS;OBJCOPY")
    add_custom_command(OUTPUT "${out}" VERBATIM COMMAND_EXPAND_LISTS DEPENDS ${join_OBJECTS}
        COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o "${out}" ${join_OBJECTS}
        COMMAND ${CMAKE_OBJCOPY} --localize-hidden $<$<BOOL:${HAL_WHEEL}>:--strip-debug>
                ${join_OBJCOPY} "${out}")
endfunction()

set(hal_static_drivers ${hal_drivers})
# What needs OpenSSL, or loads shared objects by itself, stays outside.
list(REMOVE_ITEM hal_static_drivers hal verilated)
list(TRANSFORM hal_static_drivers REPLACE "(.+)" "X(\\1)" OUTPUT_VARIABLE hal_builtin)
list(JOIN hal_builtin " " hal_builtin)

add_library(hal_builtin OBJECT csrc/static/builtin.c)
target_link_libraries(hal_builtin PRIVATE hal::hal hal_warnings)
target_compile_definitions(hal_builtin PRIVATE "HAL_BUILTIN_DRIVERS=${hal_builtin}")

set(hal_parts "${hal_static_dir}/hal.o")
hal_join("${hal_static_dir}/hal.o" OBJECTS $<TARGET_OBJECTS:hal_builtin>
         $<FILTER:$<TARGET_OBJECTS:hal>,EXCLUDE,plugin\\.c>)
foreach(name IN LISTS hal_static_drivers)
    hal_join("${hal_static_dir}/${name}.o" OBJECTS $<TARGET_OBJECTS:hal_driver_${name}>
             OBJCOPY --redefine-sym hal_plugin=hal_plugin_${name})
    list(APPEND hal_parts "${hal_static_dir}/${name}.o")
endforeach()

set(hal_archive "${PROJECT_BINARY_DIR}/lib/libhal.a")
add_custom_command(OUTPUT "${hal_archive}" VERBATIM DEPENDS ${hal_parts}
    COMMAND ${CMAKE_COMMAND} -E rm -f "${hal_archive}"
    COMMAND ${CMAKE_AR} qcs "${hal_archive}" ${hal_parts})
add_custom_target(hal_static ALL DEPENDS "${hal_archive}")
install(FILES "${hal_archive}" DESTINATION ${CMAKE_INSTALL_LIBDIR})
