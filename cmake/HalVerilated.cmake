# SPDX-License-Identifier: Apache-2.0
#
# drivers/NAME/NAME.v -> the simulated design NAME.so, for the driver `verilated`; where Verilator is.

include(CheckLanguage)
check_language(CXX)
find_program(HAL_VERILATOR verilator)
if(CMAKE_CXX_COMPILER AND HAL_VERILATOR)
    enable_language(CXX)
    execute_process(COMMAND ${HAL_VERILATOR} --getenv VERILATOR_ROOT
                    OUTPUT_VARIABLE verilator_root OUTPUT_STRIP_TRAILING_WHITESPACE)
    file(GLOB hal_designs CONFIGURE_DEPENDS drivers/*/*.v)
else()
    message(STATUS "designs in Verilog are not simulated: verilator or a C++ compiler is not found: "
                   "apt install verilator g++")
endif()

foreach(file IN LISTS hal_designs)
    get_filename_component(name "${file}" NAME_WE)
    set(made "${PROJECT_BINARY_DIR}/verilated/${name}")
    file(RELATIVE_PATH source "${PROJECT_SOURCE_DIR}" "${file}") # it is named in the result
    file(REMOVE_RECURSE "${made}") # what it writes has another name when the design changes
    file(MAKE_DIRECTORY "${made}")
    execute_process(
        COMMAND ${HAL_VERILATOR} --cc ${source} --top-module ${name} --prefix V${name} --Mdir ${made}
                -O3 --x-assign fast --x-initial fast
        WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}" COMMAND_ERROR_IS_FATAL ANY)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
    file(GLOB generated "${made}/*.cpp")
    set(target hal_verilated_${name})
    add_library(${target} MODULE drivers/verilated/axi_lite.cpp ${generated}
                "${verilator_root}/include/verilated.cpp"
                "${verilator_root}/include/verilated_threads.cpp")
    target_compile_features(${target} PRIVATE cxx_std_17)
    target_compile_definitions(${target} PRIVATE HAL_DESIGN=${name} HAL_DESIGN_SIZE=0x4000)
    target_include_directories(${target} SYSTEM PRIVATE "${made}" "${verilator_root}/include"
                               "${verilator_root}/include/vltstd")
    target_compile_options(${target} PRIVATE -w) # what Verilator writes is not ours
    target_link_libraries(${target} PRIVATE Threads::Threads)
    set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME ${name}
        CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
        LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib/hal/verilated")
    install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/hal/verilated)
endforeach()
