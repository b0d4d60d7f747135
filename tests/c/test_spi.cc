/* SPDX-License-Identifier: Apache-2.0 */
/* What of SPI needs no bus: names and options. Buses are tested in the lab
 * (tests/lab/guest/test_spi.py). */
#include "helpers.h"

#include <cerrno>

using test::contains;
using test::message;

TEST_CASE("the names of chip selects, and their options")
{
    static const struct {
        const char *uri;
        int error;
        const char *part;
    } cases[] = {
        {"spi:", -EINVAL, "which chip select? spi:0.1"},
        {"spi:1234.5", -ENOENT, "/dev/spidev1234.5"},
        {"spi:spidev1234.5", -ENOENT, "/dev/spidev1234.5"},
        {"spi:/dev/spidev1234.5", -ENOENT, "/dev/spidev1234.5"},
        {"spi:/dev/null", -ENOTTY, "not a chip select of spidev"},
        {"spi:/dev", -ENOTTY, "not a chip select of spidev"},
        {"spi:0.0?mode=4", -ERANGE, "4 is outside 0 .. 3"},
        {"spi:0.0?bits=0", -ERANGE, "0 is outside 1 .. 32"},
        {"spi:0.0?bits=33", -ERANGE, "33 is outside 1 .. 32"},
        {"spi:0.0?speed=0", -ERANGE, "0 is outside 1 .. 4294967295 Hz"},
        {"spi:0.0?lanes_tx=9", -ERANGE, "9 is outside 1 .. 8"},
        {"spi:0.0?delay=0.0656", -ERANGE, "outside 0 .. 0.065535 s"},
        {"spi:0.0?word_delay=0.000256", -ERANGE, "outside 0 .. 0.000255 s"},
        {"spi:0.0?message_max=1", -EINVAL, "no option \"message_max\""},
        {"spi:0.0?lsb=1", -EINVAL, "no option \"lsb\""},
    };

    for (const auto &c : cases) {
        CAPTURE(std::string(c.uri));
        CHECK(hal_open(c.uri, HAL_FOREVER) == c.error);
        CHECK(contains(message(), c.part));
    }
}
