# SPDX-License-Identifier: Apache-2.0
#
# Every public header compiles alone, and twice, in C and in C++, without a warning.

file(GLOB headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/hal/*.h")
set(flags -Wall -Wextra -Wpedantic -Werror -fsyntax-only "-I${PROJECT_SOURCE_DIR}/include")
foreach(header IN LISTS headers)
    get_filename_component(noun "${header}" NAME_WE)
    set(source "${CMAKE_CURRENT_BINARY_DIR}/headers/${noun}")
    set(text "#include <hal/${noun}.h>\n#include <hal/${noun}.h>\nint only_${noun};\n")
    file(CONFIGURE OUTPUT "${source}.c" CONTENT "${text}")
    file(CONFIGURE OUTPUT "${source}.cc" CONTENT "${text}")
    add_test(NAME header_${noun}_c COMMAND ${CMAKE_C_COMPILER} -std=c11 ${flags} "${source}.c")
    add_test(NAME header_${noun}_cxx
             COMMAND ${CMAKE_CXX_COMPILER} -std=c++17 ${flags} "${source}.cc")
endforeach()
