# SPDX-License-Identifier: Apache-2.0
# HAL_SANITIZE and HAL_FUZZ: compile everything, tests included, with sanitizers.

set(hal_sanitizers "")
if(HAL_SANITIZE STREQUAL "address")
    set(hal_sanitizers "address,undefined")
elseif(HAL_SANITIZE STREQUAL "thread")
    set(hal_sanitizers "thread")
elseif(HAL_SANITIZE)
    message(FATAL_ERROR "HAL_SANITIZE is \"${HAL_SANITIZE}\"; it may be empty, address or thread")
endif()
if(HAL_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "HAL_FUZZ needs clang (libFuzzer): add -DCMAKE_C_COMPILER=clang")
    endif()
    set(hal_sanitizers "fuzzer-no-link,address,undefined")
endif()

if(hal_sanitizers)
    add_compile_options(-fsanitize=${hal_sanitizers} -fno-sanitize-recover=all
                        -fno-omit-frame-pointer -g)
    add_link_options(-fsanitize=${hal_sanitizers})
endif()
