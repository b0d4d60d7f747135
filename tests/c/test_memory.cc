/* SPDX-License-Identifier: Apache-2.0 */
/* Registers, blocks and mappings: what the library checks, on a driver of the test's own; the
 * drivers sim and mmio behind the same calls. */
#include "helpers.h"

#include <cerrno>
#include <fcntl.h>
#include <fstream>
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
