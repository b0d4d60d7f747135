/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "internal.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define VERSION_TEXT TEXT(HAL_VERSION_MAJOR) "." TEXT(HAL_VERSION_MINOR) "." TEXT(HAL_VERSION_PATCH)

uint32_t hal_version(void)
{
    return HAL_VERSION_NUMBER(HAL_VERSION_MAJOR, HAL_VERSION_MINOR, HAL_VERSION_PATCH);
}

const char *hal_version_string(void)
{
    return VERSION_TEXT;
}

static int check(uint32_t abi, uint32_t version)
{
    if (abi != HAL_ABI_VERSION)
        return hal_fail_plain(-EPROTONOSUPPORT, "check library", "libhal",
                              "the program was built for ABI %u, this is ABI %u (%s); rebuild it, "
                              "or install libhal.so.%u",
                              abi, HAL_ABI_VERSION, VERSION_TEXT, abi);
    if (version > hal_version())
        return hal_fail_plain(-EPROTONOSUPPORT, "check library", "libhal",
                              "the program was built with %u.%u.%u, this is the older %s; update "
                              "the library",
                              version >> 16, version >> 8 & 0xff, version & 0xff, VERSION_TEXT);
    return 0;
}

int hal_check_version(uint32_t abi, uint32_t version)
{
    uint32_t mark = error_begin();
    int err = check(abi, version);

    return err ? error_end(mark, err, "check library", "libhal") : 0;
}
