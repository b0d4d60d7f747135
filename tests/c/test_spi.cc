/* SPDX-License-Identifier: Apache-2.0 */
/* SPI: names and options, which need no bus; then, in the lab, transfers. More of them are in
 * tests/lab/guest/test_spi.py. */
#include "helpers.h"
#include "lab.h"

#include <cerrno>

using test::contains;
using test::Device;
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

TEST_CASE("the lab's controller sends back what it is sent")
{
    std::string path = test::lab_path("/sys/devices/platform/lab-spi/spi_master/spi*/spi*.0");
    if (path.empty())
        return;
    Device wire("spi:" + test::basename_of(path).substr(3) + "?mode=1&speed=1000000");
    char back[4] = {}, more[3] = {};
    struct hal_segment segments[2] = {};

    segments[0].tx = "wire";
    segments[0].rx = back;
    segments[0].len = 4;
    segments[1].tx = "two";
    segments[1].rx = more;
    segments[1].len = 3;
    CHECK(hal_transfer(wire, segments, 2, HAL_FOREVER) == 7);
    CHECK(std::string(back, 4) == "wire");
    CHECK(std::string(more, 3) == "two");
}

TEST_CASE("a chip select of the device tree is driven; an open MISO reads zeros")
{
    std::string path = test::lab_path("/sys/devices/platform/board-spi/spi_master/spi*/spi*.0");
    if (path.empty())
        return;
    Device chip("spi:" + test::basename_of(path).substr(3));
    unsigned char back[2] = {1, 1};
    struct hal_segment segment = {};

    segment.tx = "\xff\x55";
    segment.rx = back;
    segment.len = 2;
    CHECK(hal_transfer(chip, &segment, 1, HAL_FOREVER) == 2);
    CHECK(back[0] == 0);
    CHECK(back[1] == 0);
    CHECK(hal_write(chip, "\x9f", 1, HAL_FOREVER) == 1);
}
