/* SPDX-License-Identifier: Apache-2.0 */
#include "helpers.h"

#include <cerrno>
#include <dlfcn.h>

using namespace test;

TEST_CASE("version as number and text")
{
    CHECK(hal_version() ==
          HAL_VERSION_NUMBER(HAL_VERSION_MAJOR, HAL_VERSION_MINOR, HAL_VERSION_PATCH));
    std::string text = std::to_string(HAL_VERSION_MAJOR) + "." + std::to_string(HAL_VERSION_MINOR) +
                       "." + std::to_string(HAL_VERSION_PATCH);
    CHECK(hal_version_string() == text);
    CHECK(HAL_VERSION_NUMBER(1, 2, 3) == 0x010203u);
}

TEST_CASE("program and library fit")
{
    CHECK(hal_check_library() == 0);
    CHECK(hal_check_version(HAL_ABI_VERSION, 0) == 0);
    CHECK(hal_check_version(HAL_ABI_VERSION, hal_version()) == 0);
}

TEST_CASE("another ABI is refused, naming both")
{
    CHECK(hal_check_version(77, hal_version()) == -EPROTONOSUPPORT);
    CHECK(contains(message(), "ABI 77"));
    CHECK(contains(message(), "ABI " + std::to_string(HAL_ABI_VERSION)));
    CHECK(hal_last_errno() == EPROTONOSUPPORT);
}

TEST_CASE("headers newer than the library are refused, naming both")
{
    CHECK(hal_check_version(HAL_ABI_VERSION, hal_version() + 1) == -EPROTONOSUPPORT);
    CHECK(contains(message(), hal_version_string()));
    CHECK(hal_check_version(HAL_ABI_VERSION, HAL_VERSION_NUMBER(9, 8, 7)) == -EPROTONOSUPPORT);
    CHECK(contains(message(), "9.8.7"));
}

TEST_CASE("only the public names are visible")
{
    CHECK(dlsym(RTLD_DEFAULT, "hal_open"));
    for (const char *name :
         {"lane_cancel", "error_settle", "driver_find", "hal_fork_epoch", "hal_error_serial"})
        CHECK_MESSAGE(!dlsym(RTLD_DEFAULT, name), name);
}
