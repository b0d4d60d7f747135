/* SPDX-License-Identifier: Apache-2.0 */
/* Match tables: what is taken, what is refused and how, and that they are shown. */
#include "drivers.h"
#include "helpers.h"

#include <cerrno>
#include <cstddef>
#include <map>
#include <string>

using namespace test;

static int attempt(const struct hal_match &row)
{
    static const struct hal_match good = {"subsystem:tty", "{node}", nullptr};
    struct hal_match table[] = {good, row};
    struct driver_ops ops = queue_ops;
    ops.matches = table;
    ops.match_count = 2;
    int err = hal_register_driver("matched", &ops);
    if (!err)
        CHECK(hal_unregister_driver("matched") == 0);
    else
        CHECK(contains(message(), "register driver \"matched\": match 1 (\""));
    return err;
}

TEST_CASE("rows that are well-formed")
{
    for (const char *fits :
         {"subsystem:tty", "of:atmel,24c*", "acpi:PNP0501", "pci:v00001234d000011E8*",
          "usb:v0403p6001*", "dnssd:_hal-device._tcp", "ssdp:urn:schemas-upnp-org:device:Basic:1",
          "subsystem:tty usb:v0403p6001*", "subsystem:i2c of:a i2c:b", "a_1:[a-c]?\xc3\xa4"}) {
        CAPTURE(fits);
        CHECK(attempt({fits, "{node}", "a note"}) == 0);
    }
    for (const char *address : {"", "{node}", "{name}/0", "{bus}/{address}?size=256", "plain%7B"})
        CHECK(attempt({"subsystem:tty", address, nullptr}) == 0);
    std::string longest = "of:" + std::string(HAL_MATCH_MAX - 3, 'x');
    CHECK(attempt({longest.c_str(), "", nullptr}) == 0);
    CHECK(attempt({"of:x", std::string(HAL_MATCH_MAX, 'x').c_str(), nullptr}) == 0);
}

TEST_CASE("rows that are not, and what is said")
{
    for (const char *fits : {"", "tty", ":tty", "subsystem:", "subsystem: of:x", " of:x", "of:x ",
                             "of:x  of:y", "OF:x", "of:x y", "o f:x"}) {
        CAPTURE(fits);
        CHECK(attempt({fits, "", nullptr}) == -EINVAL);
    }
    CHECK(attempt({"tty", "", nullptr}) == -EINVAL);
    CHECK(contains(message(), "(\"tty\"): fits is made of words KIND:GLOB"));
    CHECK(attempt({"of:a\n", "", nullptr}) == -EINVAL);
    CHECK(contains(message(), "control character"));
    CHECK(attempt({nullptr, "", nullptr}) == -EINVAL);
    CHECK(contains(message(), "(\"NULL\"): fits is NULL"));
    CHECK(attempt({"of:x", nullptr, nullptr}) == -EINVAL);
    CHECK(contains(message(), "address is NULL"));
    for (const char *address : {"{", "}", "{}", "{node", "{Node}", "{a b}", "{a{b}}", "x}"}) {
        CAPTURE(address);
        CHECK(attempt({"of:x", address, nullptr}) == -EINVAL);
        CHECK(contains(message(), "{name} in small letters"));
    }
    std::string text = "of:" + std::string(HAL_MATCH_MAX - 2, 'x');
    CHECK(attempt({text.c_str(), "", nullptr}) == -EINVAL);
    CHECK(contains(message(), "255 bytes"));
    CHECK(attempt({"of:x", text.c_str(), nullptr}) == -EINVAL);
}

TEST_CASE("a table that is announced and not there")
{
    struct driver_ops ops = queue_ops;
    ops.match_count = 3;
    CHECK(hal_register_driver("matched", &ops) == -EINVAL);
    CHECK(contains(message(), "3 matches are announced, the table is NULL"));
}

TEST_CASE("a table from before matches were")
{
    struct driver_ops ops = queue_ops;
    ops.match_count = 3; /* behind what such a driver has */
    CHECK(hal_register_driver_abi("old", &ops, offsetof(struct driver_ops, matches),
                                  HAL_ABI_VERSION) == 0);
    CHECK(hal_unregister_driver("old") == 0);
}

using Tables = std::map<std::string, std::string>;

static int keep(const struct hal_driver_info *info, void *arg)
{
    std::string &text = (*static_cast<Tables *>(arg))[info->name];
    for (size_t i = 0; i < info->match_count; i++)
        text += std::string(info->matches[i].fits) + " -> " + info->matches[i].address + "\n";
    return 0;
}

TEST_CASE("tables are shown, those of plug-ins once they are loaded")
{
    Tables tables;
    REQUIRE(hal_load_drivers() == 0);
    REQUIRE(hal_driver_each(keep, &tables) == 0);
    CHECK(tables["uart"] == "subsystem:tty -> {node}\n");
    CHECK(tables["i2c"] == "subsystem:i2c/i2c-[0-9]* -> {bus}\nsubsystem:i2c -> {bus}/{address}\n");
    CHECK(tables["loopback"] == "");
}
