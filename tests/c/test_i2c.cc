/* SPDX-License-Identifier: Apache-2.0 */
/* What of I2C needs no bus: names of adapters and targets, and the register helpers, which stand on
 * any driver's transfers. Then, in the lab, two buses; more of them are in
 * tests/lab/guest/test_i2c.py. */
#include "helpers.h"
#include "lab.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

using test::contains;
using test::Device;
using test::message;
using test::Registered;

namespace
{

/* ---- a driver that keeps what is transferred, and reads 1, 2, 3 ... ---- */

struct Message {
    bool read;
    std::vector<uint8_t> bytes;
};

std::vector<Message> messages;
int fails_with;

int recorder_init(hal_device *)
{
    return 0;
}

ssize_t recorder_read(hal_device *, void *, size_t, hal_deadline)
{
    return -EAGAIN;
}

ssize_t recorder_write(hal_device *, const void *, size_t len, hal_deadline)
{
    return (ssize_t)len;
}

ssize_t recorder_transfer(hal_device *, const hal_segment *segments, size_t count, hal_deadline)
{
    ssize_t moved = 0;

    if (fails_with)
        return fails_with;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *bytes = static_cast<const uint8_t *>(segments[i].tx);
        Message message = {segments[i].rx != nullptr, {}};
        if (bytes)
            message.bytes.assign(bytes, bytes + segments[i].len);
        for (size_t n = 0; message.read && n < segments[i].len; n++)
            static_cast<uint8_t *>(segments[i].rx)[n] = (uint8_t)(n + 1);
        messages.push_back(message);
        moved += (ssize_t)segments[i].len;
    }
    return moved;
}

driver_ops recorder()
{
    driver_ops ops = {};

    ops.init = recorder_init;
    ops.read = recorder_read;
    ops.write = recorder_write;
    ops.transfer = recorder_transfer;
    messages.clear();
    fails_with = 0;
    return ops;
}

} // namespace

TEST_CASE("a register is its number, big-endian, then what is read")
{
    Registered driver("recorder", recorder());
    Device dev("recorder");
    uint8_t value[3] = {};

    CHECK(hal_i2c_read_register(dev, 0x12, 1, value, 3, HAL_FOREVER) == 3);
    CHECK(std::memcmp(value, "\1\2\3", 3) == 0);
    CHECK(hal_i2c_read_register(dev, 0x123456, 4, value, 1, HAL_FOREVER) == 1);
    REQUIRE(messages.size() == 4);
    CHECK(messages[0].bytes == std::vector<uint8_t>{0x12});
    CHECK(messages[1].read);
    CHECK(messages[2].bytes == std::vector<uint8_t>{0x00, 0x12, 0x34, 0x56});
}

TEST_CASE("a register is written in one message")
{
    Registered driver("recorder", recorder());
    Device dev("recorder");
    std::vector<uint8_t> data(257, 7);

    CHECK(hal_i2c_write_register(dev, 0xabcd, 2, "xy", 2, HAL_FOREVER) == 2);
    CHECK(hal_i2c_write_register(dev, 1, 1, nullptr, 0, HAL_FOREVER) == 0);
    CHECK(hal_i2c_write_register(dev, 0, 4, data.data(), 256, HAL_FOREVER) == 256);
    REQUIRE(messages.size() == 3);
    CHECK(messages[0].bytes == std::vector<uint8_t>{0xab, 0xcd, 'x', 'y'});
    CHECK(messages[1].bytes == std::vector<uint8_t>{1});
    CHECK(messages[2].bytes.size() == 260);
    CHECK(hal_i2c_write_register(dev, 0, 4, data.data(), 257, HAL_FOREVER) == -EMSGSIZE);
    CHECK(message() == "write register: 257 bytes; 256 go at once");
    CHECK(messages.size() == 3);
}

TEST_CASE("wrong registers are refused before anything is sent")
{
    Registered driver("recorder", recorder());
    Device dev("recorder");
    uint8_t value = 0;

    CHECK(hal_i2c_read_register(dev, 0, 0, &value, 1, HAL_FOREVER) == -EINVAL);
    CHECK(hal_i2c_read_register(dev, 0, 5, &value, 1, HAL_FOREVER) == -EINVAL);
    CHECK(contains(message(), "register numbers of 5 bytes; 1 .. 4"));
    CHECK(hal_i2c_read_register(dev, 0x100, 1, &value, 1, HAL_FOREVER) == -ERANGE);
    CHECK(message() == "read register: register 0x100 does not fit into 1 byte");
    CHECK(hal_i2c_read_register(dev, 0x1000000, 3, &value, 1, HAL_FOREVER) == -ERANGE);
    CHECK(hal_i2c_read_register(dev, 0, 1, &value, 0, HAL_FOREVER) == -EINVAL);
    CHECK(hal_i2c_read_register(dev, 0, 1, nullptr, 1, HAL_FOREVER) == -EFAULT);
    CHECK(hal_i2c_write_register(dev, 0x10000, 2, &value, 1, HAL_FOREVER) == -ERANGE);
    CHECK(hal_i2c_write_register(dev, 0, 1, nullptr, 1, HAL_FOREVER) == -EFAULT);
    CHECK(messages.empty());
}

TEST_CASE("registers pass on what the driver says")
{
    Registered driver("recorder", recorder());
    Device dev("recorder"), pipe("loopback");
    uint8_t value = 0;

    fails_with = -EREMOTEIO;
    CHECK(hal_i2c_read_register(dev, 0, 1, &value, 1, HAL_FOREVER) == -EREMOTEIO);
    CHECK(hal_i2c_write_register(dev, 0, 1, &value, 1, HAL_FOREVER) == -EREMOTEIO);
    CHECK(hal_i2c_read_register(pipe, 0, 1, &value, 1, HAL_FOREVER) == -EOPNOTSUPP);
    CHECK(hal_i2c_read_register(0, 0, 1, &value, 1, HAL_FOREVER) == -EBADF);
}

TEST_CASE("the names of adapters and targets")
{
    static const struct {
        const char *uri;
        int error;
        const char *part;
    } cases[] = {
        {"i2c:", -EINVAL, "which adapter? i2c:1/0x50"},
        {"i2c:/0x50", -EINVAL, "which adapter?"},
        {"i2c:1234567/0x50", -ENOENT, "/dev/i2c-1234567\": no such I2C adapter"},
        {"i2c:i2c-1234567", -ENOENT, "/dev/i2c-1234567"},
        {"i2c:12345678/0x50", -ENOENT, "no I2C adapter of that name"},
        {"i2c:no such adapter/0x50", -ENOENT, "no I2C adapter of that name"},
        {"i2c:/dev/no-such-node/0x50", -ENOENT, "/dev/no-such-node"},
        {"i2c:/sys/no/such/0x50", -ENOENT, "/sys/no/such"},
        {"i2c:/sys/class/0x50", -ENOENT, "no I2C adapter of that name"},
        {"i2c:/dev/null/0x50", -ENOTTY, "not an I2C adapter"},
        {"i2c:/dev/0x50", -ENOTTY, "not an I2C adapter"},
        {"i2c:1/", -EINVAL, "is no address"},
        {"i2c:1/eeprom", -EINVAL, "\"eeprom\" is no address; it looks like 1/0x50"},
        {"i2c:1/0x50x", -EINVAL, "is no address"},
        {"i2c:1/-1", -EINVAL, "is no address"},
        {"i2c:1/0x07", -EINVAL, "0x07 is reserved"},
        {"i2c:1/0x78", -EINVAL, "0x78 is reserved"},
        {"i2c:1234567/0x08", -ENOENT, "no such"},
        {"i2c:1234567/0x77", -ENOENT, "no such"},
        {"i2c:1234567/119", -ENOENT, "no such"},
        {"i2c:1234567/0?reserved=on", -ENOENT, "no such"},
        {"i2c:1234567/0x80", -ENOENT, "no such"}, /* of 10 bits */
        {"i2c:1234567/0x3ff", -ENOENT, "no such"},
        {"i2c:1234567/0x01?ten_bit=on", -ENOENT, "no such"},
        {"i2c:1/0x400", -ERANGE, "0x400 is above 0x3ff"},
        {"i2c:1/0x80?ten_bit=off", -ERANGE, "0x80 is above 0x7f"},
        {"i2c:1/99999999999999999999", -EINVAL, "is no address"},
        {"i2c:1/0x50?retries=101", -ERANGE, "101 is outside 0 .. 100"},
        {"i2c:1/0x50?bus_timeout=0.001", -ERANGE, "outside 0.01 .. 600 s"},
        {"i2c:1/0x50?bits=8", -EINVAL, "no option \"bits\""},
    };

    for (const auto &c : cases) {
        CAPTURE(std::string(c.uri));
        CHECK(hal_open(c.uri, HAL_FOREVER) == c.error);
        CHECK(contains(message(), c.part));
    }
}

TEST_CASE("an EEPROM on the lab's adapter keeps what is written")
{
    std::string path = test::lab_path("/sys/bus/platform/devices/lab-i2c/i2c-*/i2c-dev");
    if (path.empty())
        return;
    Device chip("i2c:lab i2c/0x50");
    uint8_t data[4] = {}, number = 0x20;
    struct hal_segment both[2] = {};

    CHECK(hal_i2c_write_register(chip, 0x20, 1, "wxyz", 4, HAL_FOREVER) == 4);
    CHECK(hal_i2c_read_register(chip, 0x21, 1, data, 3, HAL_FOREVER) == 3);
    CHECK(std::memcmp(data, "xyz", 3) == 0);
    both[0].tx = &number;
    both[0].len = 1;
    both[1].rx = data;
    both[1].len = 4;
    CHECK(hal_transfer(chip, both, 2, HAL_FOREVER) == 5);
    CHECK(std::memcmp(data, "wxyz", 4) == 0);

    Device nobody("i2c:lab i2c/0x60");
    CHECK(hal_read(nobody, data, 1, HAL_FOREVER) == -EREMOTEIO);
    CHECK(contains(message(), "nothing acknowledged address 0x60"));
}

TEST_CASE("a bus of the device tree is found by its controller; without pull-ups nobody answers")
{
    std::string path = test::lab_path("/sys/bus/platform/devices/board-i2c");
    if (path.empty())
        return;
    Device chip("i2c:" + path + "/0x51");
    uint8_t data = 0;
    ssize_t n = hal_read(chip, &data, 1, HAL_FOREVER);

    CAPTURE(message());
    CHECK((n == -EREMOTEIO || n == -ETIMEDOUT || n == -EIO));
    CHECK(contains(message(), "read \"i2c:"));
}
