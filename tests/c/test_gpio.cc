/* SPDX-License-Identifier: Apache-2.0 */
/* GPIO: names and options, which need no chip; then, in the lab, the lines of a simulated chip and
 * those of an Arm board's PL061. More on simulated chips is in tests/lab/guest/test_gpio.py. */
#include "helpers.h"
#include "lab.h"

#include <cerrno>
#include <cstdint>

#include <hal/gpio.h>

using test::contains;
using test::Device;
using test::message;

namespace
{

const char *const kSimulated = "/sys/devices/platform/gpio-sim.*/gpiochip*/sim_gpio0";
const char *const kBoard = "/sys/bus/amba/devices/*.pl061/gpiochip*";

/* The chip that a path in sysfs has as a part: "gpiochip1". */
std::string chip_in(const std::string &path)
{
    size_t from = path.find("/gpiochip") + 1;
    return path.substr(from, path.find('/', from) - from);
}

uint64_t level(hal_handle lines, uint64_t mask)
{
    struct hal_gpio_values values = {mask, 0};

    REQUIRE_MESSAGE(hal_control(lines, HAL_GPIO_GET, &values, sizeof(values), HAL_FOREVER) == 0,
                    hal_last_error());
    return values.bits;
}

} // namespace

TEST_CASE("the names of chips and lines, and their options")
{
    static const struct {
        const char *uri;
        int error;
        const char *part;
    } cases[] = {
        {"gpio:", -EINVAL, "which lines? As in gpio:gpiochip0/4,5 or gpio:LED"},
        {"gpio:4,5", -EINVAL, "line 4 of which chip? As in gpiochip0/4"},
        {"gpio:,", -EINVAL, "an empty line name"},
        {"gpio:no-such-line,2", -ENOENT, "no chip has a line called \"no-such-line\""},
        {"gpio:no-such-line", -ENOENT, "no chip has a line called \"no-such-line\""},
        {"gpio:no-such-chip/0", -ENOENT, "no GPIO chip \"no-such-chip\""},
        {"gpio:1234567", -ENOENT, "/dev/gpiochip1234567"},
        {"gpio:1234567/0", -ENOENT, "/dev/gpiochip1234567"},
        {"gpio:gpiochip1234567/0", -ENOENT, "/dev/gpiochip1234567"},
        {"gpio:/dev/gpiochip1234567/0", -ENOENT, "/dev/gpiochip1234567"},
        {"gpio:/dev/null", -ENOTTY, "(not a GPIO chip)"},
        {"gpio:/dev/null/0", -ENOTTY, "(not a GPIO chip)"},
        {"gpio:/dev", -ENOTTY, "not a GPIO chip"},
        {"gpio:0/0?direction=out", -EINVAL, "as-is, input, output"},
        {"gpio:0/0?bias=up", -EINVAL, "pull-up"},
        {"gpio:0/0?drive=tristate", -EINVAL, "open-drain"},
        {"gpio:0/0?edge=up", -EINVAL, "rising"},
        {"gpio:0/0?event_clock=tai", -EINVAL, "monotonic"},
        {"gpio:0/0?event_buffer=-1", -ERANGE, "0 .. 1024"},
        {"gpio:0/0?event_buffer=1025", -ERANGE, "0 .. 1024"},
        {"gpio:0/0?debounce=-1us", -ERANGE, "debounce"},
        {"gpio:0/0?debounce=4295", -ERANGE, "debounce"},
        {"gpio:0/0?active_low=maybe", -EINVAL, "active_low"},
        {"gpio:0/0?pull=up", -EINVAL, "no option \"pull\""},
        {"gpio:0/0?lost=1", -EINVAL, "no option \"lost\""},
    };

    for (const auto &c : cases) {
        CAPTURE(std::string(c.uri));
        CHECK(hal_open(c.uri, HAL_FOREVER) == c.error);
        CHECK(contains(message(), c.part));
    }
}

TEST_CASE("records have the sizes that the header promises")
{
    CHECK(sizeof(struct hal_gpio_values) == 16);
    CHECK(sizeof(struct hal_gpio_event) == 48);
    CHECK(sizeof(struct hal_gpio_line) == 80);
    CHECK(sizeof(struct hal_gpio_chip) == 72);
}

TEST_CASE("a line of the board's own chip is driven, read back and held")
{
    std::string path = test::lab_path(kBoard);
    if (path.empty())
        return;
    std::string uri = "gpio:" + chip_in(path) + "/7";
    struct hal_gpio_values on = {1, 1};
    struct hal_gpio_line info = {};
    struct hal_gpio_chip chip = {};
    {
        Device line(uri + "?direction=output&values=0&consumer=tester");

        CHECK(level(line, 1) == 0);
        CHECK(hal_control(line, HAL_GPIO_SET, &on, sizeof(on), HAL_FOREVER) == 0);
        CHECK(level(line, 1) == 1);
        CHECK(hal_write(line, "\0", 1, HAL_FOREVER) == 1);
        CHECK(level(line, 1) == 0);
        CHECK(hal_write(line, "\2", 1, HAL_FOREVER) == -EINVAL);
        CHECK(hal_control(line, HAL_GPIO_SET, &on, sizeof(on) - 1, HAL_FOREVER) == -EINVAL);

        info.offset = 7;
        CHECK(hal_control(line, HAL_GPIO_LINE, &info, sizeof(info), HAL_FOREVER) == 0);
        CHECK((info.flags & (HAL_GPIO_USED | HAL_GPIO_OUTPUT)) == 3);
        CHECK(std::string(info.consumer) == "tester");
        CHECK(hal_control(line, HAL_GPIO_CHIP, &chip, sizeof(chip), HAL_FOREVER) == 0);
        CHECK(chip.lines == 8);

        CHECK(hal_open(uri.c_str(), HAL_FOREVER) == -EBUSY);
        CHECK(contains(message(), "line 7 is held by \"tester\""));
    }
    Device again(uri + "?direction=input");
    CHECK(hal_write(again, "\1", 1, HAL_FOREVER) == -EOPNOTSUPP);
}

TEST_CASE("lines that the device tree gave to other drivers are refused by their holder's name")
{
    std::string path = test::lab_path(kBoard);
    if (path.empty())
        return;
    std::string chip = chip_in(path);

    CHECK(hal_open(("gpio:" + chip + "/0").c_str(), HAL_FOREVER) == -EBUSY);
    CHECK(contains(message(), "line 0 is held by \"sck\""));
    CHECK(hal_open(("gpio:" + chip + "/3,5").c_str(), HAL_FOREVER) == -EBUSY);
    CHECK(contains(message(), "line 5 is held by \"sda\""));
    CHECK(hal_open(("gpio:" + chip + "/8").c_str(), HAL_FOREVER) == -ERANGE);
    CHECK(contains(message(), "has 8 lines, 0 .. 7; there is no line 8"));
}

TEST_CASE("a simulated line is found by name, and its level and edges are seen")
{
    std::string path = test::lab_path(kSimulated), pull = path + "/pull";
    if (path.empty())
        return;
    struct hal_gpio_event events[8] = {};
    unsigned char value = 2;

    REQUIRE(test::put(pull, "pull-down"));
    {
        Device line("gpio:BUTTON?direction=input");
        CHECK(hal_read(line, &value, 1, HAL_FOREVER) == 1);
        CHECK(value == 0);
        REQUIRE(test::put(pull, "pull-up"));
        CHECK(hal_read(line, &value, 1, HAL_FOREVER) == 1);
        CHECK(value == 1);
    }
    Device line("gpio:" + chip_in(path) + "/0?edge=both");
    CHECK(hal_read(line, events, sizeof(events), HAL_NOWAIT) == -EAGAIN);
    CHECK(hal_read(line, events, sizeof(events[0]) - 1, HAL_NOWAIT) == -EINVAL);
    REQUIRE(test::put(pull, "pull-down"));
    CHECK(hal_read(line, events, sizeof(events), hal_after_ms(10000)) == sizeof(events[0]));
    REQUIRE(test::put(pull, "pull-up"));
    CHECK(hal_read(line, events + 1, sizeof(events[0]), hal_after_ms(10000)) == sizeof(events[0]));
    CHECK(events[0].edge == 2);
    CHECK(events[1].edge == 1);
    CHECK(events[1].line_sequence == events[0].line_sequence + 1);
    CHECK(events[1].timestamp_ns >= events[0].timestamp_ns);
    CHECK(events[1].lost == 0);
    CHECK(hal_read(line, events, sizeof(events), hal_after_ms(100)) == -ETIMEDOUT);
    CHECK(test::put(pull, "pull-down"));
}
