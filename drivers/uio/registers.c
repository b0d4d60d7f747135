/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of a UIO device: an mmio device on one of its maps. It is opened when first needed,
 * since who waits for interrupts need not be one who touches registers. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "uio.h"

int registers_init(struct hal_device *dev, struct uio *uio)
{
    struct hal_value map, order;
    char path[PATH_MAX];
    int given = hal_device_option(dev, "map", &map);

    hal_device_option(dev, "byte_order", &order);
    pthread_mutex_init(&uio->opening, NULL);
    snprintf(path, sizeof(path), "%s/maps/map%d", uio->folder, (int)map.i);
    if (!access(path, F_OK))
        snprintf(uio->registers_uri, sizeof(uio->registers_uri), "mmio:%s/%d?byte_order=%.7s",
                 uio->name, (int)map.i, order.s);
    else if (given > 0)
        return hal_fail_plain(-ENOENT, "open", hal_device_uri(dev), "%s has no map %d in %s/maps",
                              uio->name, (int)map.i, uio->folder);
    return 0;
}

void registers_fini(struct uio *uio)
{
    if (uio->registers > 0)
        hal_close(uio->registers);
    pthread_mutex_destroy(&uio->opening);
}

/* The mmio device, opened by whoever comes first. */
static hal_handle registers_of(struct hal_device *dev, const char *operation)
{
    struct uio *uio = uio_of(dev);
    hal_handle out = atomic_load_explicit(&uio->registers, memory_order_acquire);

    if (out > 0)
        return out;
    if (!*uio->registers_uri)
        return hal_fail(
            -EOPNOTSUPP, operation, hal_device_uri(dev),
            "%s has no maps: older kernels give none for PCI devices; open mmio:ADDRESS/BAR",
            uio->name);
    pthread_mutex_lock(&uio->opening);
    out = uio->registers;
    if (!out)
        out = hal_open(uio->registers_uri, HAL_FOREVER);
    if (out > 0)
        atomic_store_explicit(&uio->registers, out, memory_order_release);
    pthread_mutex_unlock(&uio->opening);
    return out > 0 ? out : hal_fail_forward((int)out);
}

static long forward(long result)
{
    return result < 0 ? hal_fail_forward((int)result) : result;
}

int uio_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    hal_handle registers = registers_of(dev, "load");

    return registers < 0 ? (int)registers : (int)forward(hal_load(registers, offset, width, value));
}

int uio_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    hal_handle registers = registers_of(dev, "store");

    return registers < 0 ? (int)registers
                         : (int)forward(hal_store(registers, offset, width, value));
}

ssize_t uio_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                    hal_deadline until)
{
    hal_handle registers = registers_of(dev, "read");

    return registers < 0 ? registers : forward(hal_read_at(registers, buf, len, offset, until));
}

ssize_t uio_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                     hal_deadline until)
{
    hal_handle registers = registers_of(dev, "write");

    return registers < 0 ? registers : forward(hal_write_at(registers, buf, len, offset, until));
}

int uio_map(struct hal_device *dev, struct hal_mapping *mapping)
{
    hal_handle registers = registers_of(dev, "map");

    return registers < 0 ? (int)registers
                         : (int)forward(hal_map(registers, mapping->offset, mapping->length,
                                                mapping->flags, mapping));
}
