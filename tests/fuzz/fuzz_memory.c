/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices that are memory: any text as an address of one, which is opened or refused with a
 * message; and any offset, width and length on one of a known size, of which nothing beyond its end
 * is ever given. Input: an address, or a NUL and triples of 64-bit numbers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hal/hal.h>

#include "must.h"

#define SIZE 5000u /* no multiple of a page */

/* ---- addresses ---- */

/* Opened to be read alone, and not read: who knows what it is. */
static void open_address(const char *driver, const char *address, const char *options)
{
    char quoted[3 * HAL_URI_MAX + 1], uri[4 * HAL_URI_MAX];
    hal_handle dev;

    if (hal_uri_quote(address, quoted, sizeof(quoted)) < 0)
        return;
    snprintf(uri, sizeof(uri), "%s:%s%s", driver, quoted, options);
    dev = hal_open(uri, HAL_NOWAIT);
    MUST(dev != 0);
    if (dev > 0)
        MUST(hal_close(dev) == 0);
    else
        MUST(hal_last_errno() == -dev && *hal_last_error());
}

/* ---- ranges ---- */

/* One by each driver, on the same bytes; open until the end. */
static const hal_handle *devices(void)
{
    static hal_handle opened[2];
    char uri[64];
    int fd;

    if (opened[0])
        return opened;
    fd = memfd_create("memory", MFD_CLOEXEC);
    MUST(fd >= 0 && !ftruncate(fd, SIZE));
    snprintf(uri, sizeof(uri), "memory:fd:%d", fd);
    opened[0] = hal_open(uri, HAL_NOWAIT);
    snprintf(uri, sizeof(uri), "mmio:/proc/self/fd/%d", fd);
    opened[1] = hal_open(uri, HAL_NOWAIT);
    MUST(opened[0] > 0 && opened[1] > 0);
    close(fd);
    return opened;
}

static bool within(uint64_t offset, uint64_t len)
{
    return offset <= SIZE && len <= SIZE - offset;
}

static void use_registers(hal_handle dev, uint64_t offset, uint64_t number)
{
    unsigned width = (unsigned)number;
    bool good = (width == 1 || width == 2 || width == 4 || width == 8) && offset % width == 0;
    uint64_t value = ~0ull;
    int err = hal_load(dev, offset, width, &value);

    MUST(err == (!good ? -EINVAL : within(offset, width) ? 0 : -ERANGE));
    MUST(err || width == 8 || value >> (8 * width) == 0);
    MUST(hal_store(dev, offset, width, number) == err);
    MUST(hal_update(dev, offset, width, number, offset, NULL) == err);
}

static void use_blocks(hal_handle dev, uint64_t offset, uint64_t length)
{
    size_t room = length % (2 * SIZE) + 1;
    ssize_t expected = !within(offset, 1)     ? -ERANGE
                       : room < SIZE - offset ? (ssize_t)room
                                              : (ssize_t)(SIZE - offset);
    uint8_t *bytes = malloc(room); /* just as long, so that a byte more is seen */

    MUST(bytes);
    memset(bytes, (int)length, room);
    MUST(hal_write_at(dev, bytes, room, offset, HAL_NOWAIT) == expected);
    MUST(hal_read_at(dev, bytes, room, offset, HAL_NOWAIT) == expected);
    free(bytes);
}

static void use_mapping(hal_handle dev, uint64_t offset, uint64_t length, uint64_t flags)
{
    struct hal_mapping mapping;
    int err = hal_map(dev, offset, length, (uint32_t)flags, &mapping);

    if (err) {
        MUST(err != -ERANGE || !within(offset, length ? length : 1));
        return;
    }
    MUST(within(offset, length ? length : 1));
    MUST(mapping.offset == offset && mapping.length == (length ? length : SIZE - offset));
    if (flags & HAL_MAP_READ) /* its first byte, and its last */
        (void)(((volatile uint8_t *)mapping.address)[0] +
               ((volatile uint8_t *)mapping.address)[mapping.length - 1]);
    MUST(hal_unmap(&mapping) == 0);
}

static void use_ranges(hal_handle dev, const uint8_t *data, size_t size)
{
    uint64_t numbers[3];

    for (; size >= sizeof(numbers); data += sizeof(numbers), size -= sizeof(numbers)) {
        memcpy(numbers, data, sizeof(numbers));
        use_registers(dev, numbers[0], numbers[1]);
        use_blocks(dev, numbers[0], numbers[1]);
        use_mapping(dev, numbers[0], numbers[1], numbers[2]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *address;

    if (size && !data[0]) {
        use_ranges(devices()[0], data + 1, size - 1);
        use_ranges(devices()[1], data + 1, size - 1);
        return 0;
    }
    address = strndup((const char *)data, size);
    if (!address)
        return 0;
    open_address("mmio", address, "?read_only=true");
    open_address("memory", address, "?read_only=true&size=4096");
    open_address("dmabuf", address, "?size=4096");
    open_address("uio", address, "");
    free(address);
    return 0;
}
