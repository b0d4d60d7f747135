/* SPDX-License-Identifier: Apache-2.0 */
/* Memory in a PCI BAR (ivshmem, a card's own RAM): an mmio device on it, mapped with
 * write-combining, which plain stores into memory bear and registers do not. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

#define PCI "/sys/bus/pci/devices"

bool is_bar(const char *address)
{
    unsigned domain, bus, slot, function, bar;
    int used = 0;

    return sscanf(address, "%x:%x:%x.%x/%u%n", &domain, &bus, &slot, &function, &bar, &used) == 5 &&
           !address[used];
}

static int check_bar(struct hal_device *dev, struct memory *out)
{
    struct hal_value prefetchable, size;
    int err = hal_get(out->bar, "prefetchable", &prefetchable, HAL_FOREVER);

    if (!err)
        err = hal_get(out->bar, "size", &size, HAL_FOREVER);
    if (err)
        return hal_fail_forward(err);
    if (!prefetchable.b)
        return hal_fail_plain(-EOPNOTSUPP, "open", hal_device_uri(dev),
                              "this BAR is registers, not memory (it is not prefetchable): "
                              "mmio:%s",
                              out->path);
    if (number_option(dev, "size") > size.i)
        return hal_fail_plain(-ERANGE, "open", hal_device_uri(dev),
                              "size=%" PRId64 ", but the BAR has %" PRId64 " bytes",
                              number_option(dev, "size"), size.i);
    out->size = (uint64_t)(number_option(dev, "size") ? number_option(dev, "size") : size.i);
    return 0;
}

int open_bar(struct hal_device *dev, struct memory *out, const char *address)
{
    char uri[HAL_URI_MAX + 1];
    int err;

    if (strlen(address) >= sizeof(out->path) ||
        snprintf(uri, sizeof(uri), "mmio:%s?enable=%s&read_only=%s", address,
                 option(dev, "enable") ? "true" : "false",
                 out->read_only ? "true" : "false") >= (int)sizeof(uri))
        return -ENAMETOOLONG;
    strcpy(out->path, address);
    snprintf(out->sysfs, sizeof(out->sysfs), PCI "/%.*s", (int)strcspn(address, "/"), address);
    out->kind = KIND_BAR;
    out->fd = -1;
    out->alignment = (uint64_t)sysconf(_SC_PAGESIZE);
    out->bar = hal_open(uri, HAL_FOREVER);
    if (out->bar < 0)
        return hal_fail_forward((int)out->bar);
    err = check_bar(dev, out);
    if (err)
        close_bar(out);
    return err;
}

void close_bar(struct memory *memory)
{
    if (memory->bar > 0)
        hal_close(memory->bar);
    memory->bar = 0;
}

static ssize_t forward(ssize_t result)
{
    return result < 0 ? hal_fail_forward((int)result) : result;
}

ssize_t read_bar(const struct memory *memory, void *buf, size_t len, uint64_t offset)
{
    return forward(hal_read_at(memory->bar, buf, len, offset, HAL_FOREVER));
}

ssize_t write_bar(const struct memory *memory, const void *buf, size_t len, uint64_t offset)
{
    return forward(hal_write_at(memory->bar, buf, len, offset, HAL_FOREVER));
}

int map_bar(const struct memory *memory, uint64_t offset, size_t length, uint32_t flags,
            struct hal_mapping *out)
{
    return (int)forward(hal_map(memory->bar, offset, length, flags, out));
}
