/* SPDX-License-Identifier: Apache-2.0 */
#include "helpers.h"

#include <cerrno>
#include <poll.h>
#include <vector>

using namespace test;

static int64_t number(hal_handle dev, const char *name)
{
    int64_t value = -1;
    CHECK(hal_get_int(dev, name, &value, HAL_FOREVER) == 0);
    return value;
}

TEST_CASE("what is written can be read back: all byte values, in order")
{
    Device dev("loopback");
    unsigned char all[256], back[256] = {};
    for (int i = 0; i < 256; i++)
        all[i] = static_cast<unsigned char>(i);
    CHECK(hal_write(dev, all, 256, HAL_NOWAIT) == 256);
    CHECK(hal_read(dev, back, 100, HAL_NOWAIT) == 100);
    CHECK(hal_read(dev, back + 100, 200, HAL_NOWAIT) == 156);
    CHECK(!std::memcmp(all, back, 256));
}

TEST_CASE("it is bounded, and says by how much")
{
    Device plain("loopback"), small("loopback:?capacity=1"), odd("loopback:?capacity=5000");
    CHECK(number(plain, "capacity") == 65536);
    CHECK(number(small, "capacity") == sysconf(_SC_PAGESIZE)); /* rounded up to pages */
    CHECK(number(odd, "capacity") >= 5000);
    std::vector<char> bytes(1 << 20);
    CHECK(hal_write(plain, bytes.data(), bytes.size(), HAL_NOWAIT) == 65536);
    CHECK(number(plain, "waiting") == 65536);
    CHECK(hal_write(plain, "x", 1, HAL_NOWAIT) == -EAGAIN);
    CHECK(hal_write(plain, "x", 1, 1) == -ETIMEDOUT);
    CHECK(hal_read(plain, bytes.data(), 4096, HAL_NOWAIT) == 4096);
    CHECK(hal_write(plain, "x", 1, HAL_NOWAIT) == 1);
}

TEST_CASE("capacities: which are taken")
{
    for (const char *good : {"loopback:?capacity=1", "loopback:?capacity=1048576",
                             "loopback:?capacity=64KiB", "loopback:?capacity=0x2000"}) {
        CAPTURE(good);
        Device dev(good);
    }
    CHECK(hal_open("loopback:?capacity=0", HAL_FOREVER) == -ERANGE);
    CHECK(hal_open("loopback:?capacity=1048577", HAL_FOREVER) == -ERANGE);
    CHECK(hal_open("loopback:?capacity=-1", HAL_FOREVER) == -ERANGE);
    CHECK(hal_open("loopback:?capacity=big", HAL_FOREVER) == -EINVAL);
    CHECK(hal_open("loopback:?capacity", HAL_FOREVER) == -EINVAL);
    CHECK(hal_set_int(Device("loopback"), "capacity", 4096, HAL_FOREVER) == -EACCES);
}

TEST_CASE("devices are apart from each other")
{
    Device one("loopback"), two("loopback");
    char byte;
    CHECK(hal_write(one, "x", 1, HAL_NOWAIT) == 1);
    CHECK(hal_read(two, &byte, 1, HAL_NOWAIT) == -EAGAIN);
    CHECK(hal_read(one, &byte, 1, HAL_NOWAIT) == 1);
}

TEST_CASE("a megabyte through it, both ways at once")
{
    Device dev("loopback:?capacity=4096");
    std::vector<unsigned char> sent(1 << 20), got(1 << 20);
    for (size_t i = 0; i < sent.size(); i++)
        sent[i] = static_cast<unsigned char>(i * 31 + (i >> 8));
    std::thread writer([&] {
        CHECK(hal_write(dev, sent.data(), sent.size(), hal_after_ms(30000)) ==
              static_cast<ssize_t>(sent.size()));
    });
    CHECK(hal_read_exact(dev, got.data(), got.size(), hal_after_ms(30000)) ==
          static_cast<ssize_t>(got.size()));
    writer.join();
    CHECK((sent == got));
    CHECK(number(dev, "waiting") == 0);
}

TEST_CASE("its descriptors fit into an event loop")
{
    Device dev("loopback");
    struct pollfd in = {hal_fd(dev, POLLIN), POLLIN, 0}, out = {hal_fd(dev, POLLOUT), POLLOUT, 0};
    CHECK(poll(&in, 1, 0) == 0);
    CHECK(poll(&out, 1, 0) == 1);
    CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
    CHECK(poll(&in, 1, 0) == 1);
    char byte;
    CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == 1);
    CHECK(poll(&in, 1, 0) == 0);
}
