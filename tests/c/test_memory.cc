/* SPDX-License-Identifier: Apache-2.0 */
/* Registers, blocks and mappings: what the library checks, on a driver of the test's own; the
 * drivers sim and mmio behind the same calls. */
#include "helpers.h"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <sys/mman.h>
#include <vector>

using test::contains;
using test::Device;
using test::message;

namespace
{

constexpr size_t kSize = 64;
uint8_t memory[kSize];
int entered; /* calls of the driver */

int init(struct hal_device *)
{
    memset(memory, 0, sizeof(memory));
    entered = 0;
    return 0;
}

ssize_t no_read(struct hal_device *, void *, size_t, hal_deadline)
{
    return 0;
}

ssize_t no_write(struct hal_device *, const void *, size_t len, hal_deadline)
{
    return (ssize_t)len;
}

int load(struct hal_device *, uint64_t offset, unsigned width, uint64_t *value)
{
    entered++;
    if (offset + width > kSize)
        return -ERANGE;
    *value = 0;
    memcpy(value, memory + offset, width);
    return 0;
}

int store(struct hal_device *, uint64_t offset, unsigned width, uint64_t value)
{
    entered++;
    if (offset + width > kSize)
        return -ERANGE;
    memcpy(memory + offset, &value, width);
    return 0;
}

int map(struct hal_device *, struct hal_mapping *mapping)
{
    entered++;
    mapping->base_length = 4096;
    mapping->base = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mapping->address = mapping->base;
    return 0;
}

struct driver_ops with_memory()
{
    struct driver_ops ops = {};
    ops.init = init;
    ops.read = no_read;
    ops.write = no_write;
    ops.load = load;
    ops.store = store;
    ops.map = map;
    return ops;
}

} // namespace

TEST_CASE("a register is one call of the driver, of exactly its width")
{
    test::Registered driver("test_memory", with_memory());
    Device dev("test_memory:");
    uint64_t value = 1;

    for (unsigned width : {1u, 2u, 4u, 8u}) {
        CHECK(hal_store(dev, 8, width, 0x1122334455667788) == 0);
        CHECK(hal_load(dev, 8, width, &value) == 0);
        CHECK(value == (0x1122334455667788 & (width == 8 ? ~0ull : (1ull << 8 * width) - 1)));
    }
    CHECK(entered == 8);
}

TEST_CASE("widths and offsets are checked before the driver is asked")
{
    test::Registered driver("test_memory", with_memory());
    Device dev("test_memory:");
    uint64_t value;

    for (unsigned width : {0u, 3u, 5u, 16u, ~0u}) {
        CHECK(hal_load(dev, 0, width, &value) == -EINVAL);
        CHECK(hal_store(dev, 0, width, 0) == -EINVAL);
        CHECK(contains(message(), "1, 2, 4 or 8 bytes wide"));
    }
    CHECK(hal_load(dev, 6, 4, &value) == -EINVAL);
    CHECK(
        contains(message(), "load \"test_memory:\": offset 0x6 is not a multiple of the width 4"));
    CHECK(hal_update(dev, 1, 2, 1, 1, nullptr) == -EINVAL);
    CHECK(hal_load(dev, 0, 4, nullptr) == -EFAULT);
    CHECK(entered == 0);
    CHECK(hal_load(dev, kSize, 4, &value) == -ERANGE);
    CHECK(hal_load(0x7fffffff, 0, 4, &value) == -EBADF);
}

TEST_CASE("an update changes the bits of its mask and tells what was there")
{
    test::Registered driver("test_memory", with_memory());
    Device dev("test_memory:");
    uint64_t value, old = 0;

    CHECK(hal_store(dev, 0, 4, 0xff00ff00) == 0);
    CHECK(hal_update(dev, 0, 4, 0x0ff0, 0xabcd, &old) == 0);
    CHECK(old == 0xff00ff00);
    CHECK(hal_load(dev, 0, 4, &value) == 0);
    CHECK(value == 0xff00fbc0);
    CHECK(hal_update(dev, 0, 4, 0, ~0ull, nullptr) == 0);
    CHECK(hal_load(dev, 0, 4, &value) == 0);
    CHECK(value == 0xff00fbc0);
}

TEST_CASE("updates of many threads lose no bit")
{
    Device dev("sim:memory?size=64");
    std::vector<std::thread> threads;
    uint64_t value;

    for (unsigned bit = 0; bit < 4; bit++)
        threads.emplace_back([&dev, bit] {
            uint64_t mask = 1ull << bit, old = 0;
            for (int i = 0; i < 1001; i++, old ^= mask)
                hal_update(dev, 0, 4, mask, ~old & mask, nullptr);
        });
    for (auto &thread : threads)
        thread.join();
    CHECK(hal_load(dev, 0, 4, &value) == 0);
    CHECK(value == 0xf);
}

TEST_CASE("what a driver lacks is said")
{
    Device dev("loopback:");
    struct hal_mapping mapping;
    uint64_t value;
    char byte;

    CHECK(hal_load(dev, 0, 4, &value) == -EOPNOTSUPP);
    CHECK(contains(message(), "driver \"loopback\" has no registers"));
    CHECK(hal_store(dev, 0, 4, 0) == -EOPNOTSUPP);
    CHECK(hal_update(dev, 0, 4, 1, 1, nullptr) == -EOPNOTSUPP);
    CHECK(hal_read_at(dev, &byte, 1, 0, HAL_FOREVER) == -EOPNOTSUPP);
    CHECK(hal_write_at(dev, &byte, 1, 0, HAL_FOREVER) == -EOPNOTSUPP);
    CHECK(hal_map(dev, 0, 0, HAL_MAP_READ, &mapping) == -EOPNOTSUPP);
    CHECK(contains(message(), "has no mappings"));
}

TEST_CASE("blocks end with the device")
{
    Device dev("sim:memory?size=64");
    char bytes[64];

    CHECK(hal_write_at(dev, "registers", 9, 3, HAL_FOREVER) == 9);
    CHECK(hal_read_at(dev, bytes, 9, 3, HAL_FOREVER) == 9);
    CHECK(std::string(bytes, 9) == "registers");
    CHECK(hal_read_at(dev, bytes, 64, 60, HAL_FOREVER) == 4);
    CHECK(hal_read_at(dev, bytes, 1, 64, HAL_FOREVER) == -ERANGE);
    CHECK(hal_read_at(dev, bytes, 0, 0, HAL_FOREVER) == 0);
    CHECK(hal_read_at(dev, nullptr, 1, 0, HAL_FOREVER) == -EFAULT);
    CHECK(hal_write_at(dev, nullptr, 1, 0, HAL_FOREVER) == -EFAULT);
}

TEST_CASE("flags of a mapping are checked, and it is unmapped once")
{
    test::Registered driver("test_memory", with_memory());
    Device dev("test_memory:");
    struct hal_mapping mapping;

    CHECK(hal_map(dev, 0, 0, 0, &mapping) == -EINVAL);
    CHECK(hal_map(dev, 0, 0, HAL_MAP_WRITE_COMBINE, &mapping) == -EINVAL);
    CHECK(hal_map(dev, 0, 0, HAL_MAP_READ | 0x100, &mapping) == -EINVAL);
    CHECK(hal_map(dev, 0, 0, HAL_MAP_READ, nullptr) == -EFAULT);
    CHECK(entered == 0);
    CHECK(hal_map(dev, 16, 32, HAL_MAP_READ, &mapping) == 0);
    CHECK(mapping.offset == 16);
    CHECK(mapping.length == 32);
    CHECK(mapping.flags == HAL_MAP_READ);
    CHECK(hal_unmap(&mapping) == 0);
    CHECK(hal_unmap(&mapping) == -EINVAL);
    CHECK(hal_unmap(nullptr) == -EINVAL);
}

TEST_CASE("mmio: a mapping shows what registers hold, and outlives the device")
{
    test::Folder folder;
    std::string path = folder / "registers";
    struct hal_mapping mapping;
    uint64_t value;

    std::ofstream(path) << std::string(3 * 4096, '\0');
    Device dev("mmio:" + path + "?byte_order=big");
    CHECK(hal_map(dev, 4100, 0, HAL_MAP_READ | HAL_MAP_WRITE, &mapping) == 0);
    CHECK(mapping.length == 2 * 4096 - 4);
    CHECK(hal_store(dev, 4100, 4, 0x11223344) == 0);
    CHECK(memcmp(mapping.address, "\x11\x22\x33\x44", 4) == 0);
    static_cast<uint8_t *>(mapping.address)[4096] = 0x5a;
    CHECK(hal_load(dev, 8196, 1, &value) == 0);
    CHECK(value == 0x5a);
    CHECK(dev.close() == 0);
    CHECK(static_cast<uint8_t *>(mapping.address)[3] == 0x44);
    CHECK(hal_unmap(&mapping) == 0);
}

TEST_CASE("mmio: bounds")
{
    test::Folder folder;
    std::string path = folder / "registers";
    struct hal_mapping mapping;
    uint64_t value;

    std::ofstream(path) << std::string(100, '\0');
    Device dev("mmio:" + path);
    CHECK(hal_load(dev, 96, 4, &value) == 0);
    CHECK(hal_load(dev, 96, 8, &value) == -ERANGE);
    CHECK(hal_load(dev, 100, 4, &value) == -ERANGE);
    CHECK(hal_load(dev, ~7ull, 8, &value) == -ERANGE);
    CHECK(contains(message(), "is beyond the 0x64 bytes of " + path));
    CHECK(hal_map(dev, 0, 101, HAL_MAP_READ, &mapping) == -ERANGE);
    CHECK(hal_map(dev, 100, 0, HAL_MAP_READ, &mapping) == -ERANGE);
}

/* ---- the drivers of memory that the host has, too ----------------------------------------------
 */

TEST_CASE("memory: two handles of one object, from four threads, and a mapping that outlives both")
{
    Device made("memory:memfd:test?size=9000");
    Device taken("memory:fd:" + std::to_string(hal_fd(made, POLLIN)));
    struct hal_mapping mapping;
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};

    REQUIRE(hal_map(taken, 4000, 5000, HAL_MAP_READ | HAL_MAP_WRITE, &mapping) == 0);
    for (unsigned i = 0; i < 4; i++)
        threads.emplace_back([&, i] {
            hal_handle mine = i % 2 ? static_cast<hal_handle>(made) : taken;
            char block[500], back[500];
            uint64_t value;

            memset(block, static_cast<int>(i + 1), sizeof(block));
            for (int k = 0; k < 50; k++) {
                wrong += hal_write_at(mine, block, sizeof(block), i * 1000 + 3, HAL_FOREVER) != 500;
                wrong += hal_read_at(mine, back, sizeof(back), i * 1000 + 3, HAL_FOREVER) != 500;
                wrong += memcmp(block, back, sizeof(block)) != 0;
                wrong += hal_store(mine, 8000 + 8 * i, 8, static_cast<uint64_t>(k)) != 0;
                wrong += hal_load(mine, 8000 + 8 * i, 8, &value) != 0 || value != uint64_t(k);
            }
        });
    for (auto &thread : threads)
        thread.join();
    CHECK(wrong == 0);
    CHECK(made.close() == 0);
    CHECK(taken.close() == 0);
    CHECK(static_cast<uint8_t *>(mapping.address)[4000] == 49);
    CHECK(hal_unmap(&mapping) == 0);
}

TEST_CASE("memory: bounds")
{
    Device dev("memory:memfd:test?size=9000");
    struct hal_mapping mapping;
    uint64_t value;
    char bytes[16];

    CHECK(hal_load(dev, 8992, 8, &value) == 0);
    CHECK(hal_load(dev, 9000, 8, &value) == -ERANGE);
    CHECK(hal_store(dev, ~7ull, 8, 1) == -ERANGE);
    CHECK(contains(message(), "is beyond its 9000 bytes"));
    CHECK(hal_read_at(dev, bytes, 16, 8990, HAL_FOREVER) == 10);
    CHECK(hal_write_at(dev, bytes, 16, 9000, HAL_FOREVER) == -ERANGE);
    CHECK(hal_map(dev, 8999, 2, HAL_MAP_READ, &mapping) == -ERANGE);
    CHECK(hal_map(dev, 0, 1, HAL_MAP_READ | HAL_MAP_SYNC, &mapping) == -EOPNOTSUPP);
    CHECK(hal_map(dev, 0, 1, HAL_MAP_READ | HAL_MAP_WRITE_COMBINE, &mapping) == -EOPNOTSUPP);
}

TEST_CASE("memory: a file that is cut short is an error for blocks, not a signal")
{
    test::Folder folder;
    std::string path = folder / "memory";
    char bytes[16];

    Device dev("memory:" + path + "?size=8192&create=true");
    REQUIRE(truncate(path.c_str(), 4096) == 0);
    CHECK(hal_read_at(dev, bytes, 16, 4090, HAL_FOREVER) == 6);
    CHECK(hal_read_at(dev, bytes, 16, 8000, HAL_FOREVER) == -EIO);
    CHECK(contains(message(), "the file has shrunk"));
}

TEST_CASE("what is no memory is refused, and nothing is left open")
{
    const struct {
        const char *uri;
        int err;
    } rows[] = {{"memory:", -EINVAL},
                {"memory:x", -EINVAL},
                {"memory:/dev/null", -EOPNOTSUPP},
                {"memory:shm:x", -EINVAL},
                {"memory:memfd:x", -EINVAL},
                {"memory:memfd:x?size=1&read_only=true", -EINVAL},
                {"memory:fd:999999", -EINVAL},
                {"memory:0000:7f:00.0/2", -ENOENT},
                {"mmio:0000:7f:00.0/2", -ENOENT},
                {"mmio:uio999/0", -ENOENT},
                {"mmio:0x1004+0x10", -EINVAL},
                {"mmio:0x1000+0x0", -EINVAL},
                {"mmio:/dev/null", -EINVAL},
                {"uio:uio999", -ENOENT},
                {"uio:x", -EINVAL},
                {"dmabuf:system", -EINVAL},
                {"dmabuf:fd:0", -EINVAL},
                {"dmabuf:nothing?size=4096", -ENOENT}};

    for (const auto &row : rows) {
        CAPTURE(row.uri);
        CHECK(hal_open(row.uri, HAL_NOWAIT) == row.err);
        CHECK(!message().empty());
    }
}
