# SPDX-License-Identifier: Apache-2.0
#
# tests/fuzz/fuzz_NOUN.c or .cc -> a libFuzzer program and a test of HAL_FUZZ_RUNS inputs, starting
# from the seeds in tests/fuzz/corpus/NOUN. What is found stays in the build tree and is tried first the
# next time. Longer by hand: build/fuzz/fuzz_uri -max_total_time=3600 build/fuzz/corpus/uri

set(HAL_FUZZ_RUNS 100000 CACHE STRING "Inputs each fuzz target is given by ctest")

if(NOT CMAKE_CXX_COMPILER)
    set(CMAKE_CXX_COMPILER "${CMAKE_C_COMPILER}++") # clang's
endif()
enable_language(CXX)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)

file(GLOB hal_fuzz_files CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c tests/fuzz/fuzz_*.cc)
foreach(file IN LISTS hal_fuzz_files)
    get_filename_component(target "${file}" NAME_WE)
    string(REPLACE "fuzz_" "" noun ${target})
    set(found "${PROJECT_BINARY_DIR}/corpus/${noun}")
    set(seeds "${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${noun}")
    file(MAKE_DIRECTORY "${found}")
    if(NOT IS_DIRECTORY "${seeds}")
        set(seeds "")
    endif()
    set(runs ${HAL_FUZZ_RUNS})
    if(noun MATCHES "^(memory|remote)$") # opens devices with every input: five times as slow
        math(EXPR runs "${runs} / 5")
    elseif(noun STREQUAL "agent") # with threads, too
        math(EXPR runs "${runs} / 20")
    endif()
    add_executable(${target} "${file}")
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    target_link_libraries(${target} PRIVATE hal::hal)
    add_test(NAME ${target} COMMAND ${target} -runs=${runs} -seed=1 -max_len=4096
        -timeout=10 -print_final_stats=1 "-artifact_prefix=${PROJECT_BINARY_DIR}/${target}-"
        "${found}" ${seeds})
    set_tests_properties(${target} PROPERTIES TIMEOUT 300
        ENVIRONMENT "HAL_DRIVER_PATH=${PROJECT_BINARY_DIR}/lib/hal/drivers")
endforeach()

target_sources(fuzz_numbers PRIVATE bindings/numbers/numbers.cpp)
target_include_directories(fuzz_numbers PRIVATE bindings/numbers)

# The agent's end of a link, without TLS, which the target stands in for.
target_sources(fuzz_agent PRIVATE bindings/link/frame.cpp bindings/link/link.cpp
                                  bindings/link/operation.cpp bindings/link/served.cpp)
target_include_directories(fuzz_agent PRIVATE bindings/link drivers/hal)
target_link_libraries(fuzz_agent PRIVATE Threads::Threads)

# The controller's end, likewise; and how it judges tokens.
file(GLOB hal_remote_files CONFIGURE_DEPENDS drivers/hal/*.c)
list(FILTER hal_remote_files EXCLUDE REGEX "/(tls|credentials|token)\\.c$")
target_sources(fuzz_remote PRIVATE ${hal_remote_files})
target_sources(fuzz_token PRIVATE drivers/hal/token.c)
foreach(target fuzz_remote fuzz_token)
    target_include_directories(${target} PRIVATE drivers/hal)
    target_link_libraries(${target} PRIVATE Threads::Threads)
endforeach()
target_link_libraries(fuzz_token PRIVATE OpenSSL::Crypto ${JANSSON_LIBRARY})
