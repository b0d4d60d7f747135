# SPDX-License-Identifier: Apache-2.0
# hal_warnings: the warnings our own code is compiled with. Never exported to users.

add_library(hal_warnings INTERFACE)
target_compile_options(hal_warnings INTERFACE
    -Wall -Wextra -Wpedantic
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes -Wvla>
    $<$<BOOL:${HAL_WERROR}>:-Werror>)
