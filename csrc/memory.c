/* SPDX-License-Identifier: Apache-2.0 */
/* Registers, blocks and mappings: checks here, accesses in the driver. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

static int lacks(struct hal_device *dev, const char *operation, const char *what)
{
    return hal_fail(-EOPNOTSUPP, operation, dev->uri, "driver \"%s\" has no %s", dev->driver->name,
                    what);
}

/* ---- registers ------------------------------------------------------------------------------ */

static int check_access(struct hal_device *dev, const char *operation, uint64_t offset,
                        unsigned width)
{
    if (width != 1 && width != 2 && width != 4 && width != 8)
        return hal_fail_plain(-EINVAL, operation, dev->uri,
                              "a register is 1, 2, 4 or 8 bytes wide, not %u", width);
    if (offset % width)
        return hal_fail_plain(-EINVAL, operation, dev->uri,
                              "offset 0x%llx is not a multiple of the width %u",
                              (unsigned long long)offset, width);
    return 0;
}

int memory_check_load(struct hal_device *dev, uint64_t offset, unsigned width,
                      const uint64_t *value)
{
    int err = check_access(dev, "load", offset, width);

    if (err)
        return err;
    if (!value)
        return -EFAULT;
    return dev->ops.load ? 0 : lacks(dev, "load", "registers");
}

int memory_check_store(struct hal_device *dev, uint64_t offset, unsigned width)
{
    int err = check_access(dev, "store", offset, width);

    if (err)
        return err;
    return dev->ops.store ? 0 : lacks(dev, "store", "writable registers");
}

static int load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    int err = memory_check_load(dev, offset, width, value);

    return err ? err : dev->ops.load(dev, offset, width, value);
}

static int store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    int err = memory_check_store(dev, offset, width);

    return err ? err : dev->ops.store(dev, offset, width, value);
}

int hal_load(hal_handle handle, uint64_t offset, unsigned width, uint64_t *value)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_CONTROL, "load", HAL_FOREVER, &dev);

    if (err)
        return err;
    return (int)device_leave(dev, HAL_LANE_CONTROL, "load", load(dev, offset, width, value));
}

int hal_store(hal_handle handle, uint64_t offset, unsigned width, uint64_t value)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_CONTROL, "store", HAL_FOREVER, &dev);

    if (err)
        return err;
    return (int)device_leave(dev, HAL_LANE_CONTROL, "store", store(dev, offset, width, value));
}

int hal_update(hal_handle handle, uint64_t offset, unsigned width, uint64_t mask, uint64_t value,
               uint64_t *old)
{
    struct hal_device *dev;
    uint64_t before = 0;
    int err = device_enter(handle, HAL_LANE_CONTROL, "update", HAL_FOREVER, &dev);

    if (err)
        return err;
    err = load(dev, offset, width, &before);
    if (!err)
        err = store(dev, offset, width, (before & ~mask) | (value & mask));
    if (!err && old)
        *old = before;
    return (int)device_leave(dev, HAL_LANE_CONTROL, "update", err);
}

/* ---- blocks --------------------------------------------------------------------------------- */

static ssize_t read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                       hal_deadline until)
{
    if (!dev->ops.read_at)
        return lacks(dev, "read", "offsets");
    if (len && !buf)
        return -EFAULT;
    return len ? dev->ops.read_at(dev, buf, len < HAL_LENGTH_MAX ? len : HAL_LENGTH_MAX, offset,
                                  until)
               : 0;
}

static ssize_t write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                        hal_deadline until)
{
    if (!dev->ops.write_at)
        return lacks(dev, "write", "offsets");
    if (len && !buf)
        return -EFAULT;
    return len ? dev->ops.write_at(dev, buf, len < HAL_LENGTH_MAX ? len : HAL_LENGTH_MAX, offset,
                                   until)
               : 0;
}

ssize_t hal_read_at(hal_handle handle, void *buf, size_t len, uint64_t offset, hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_READ, "read", until, &dev);

    if (err)
        return err;
    return device_leave(dev, HAL_LANE_READ, "read", read_at(dev, buf, len, offset, until));
}

ssize_t hal_write_at(hal_handle handle, const void *buf, size_t len, uint64_t offset,
                     hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_WRITE, "write", until, &dev);

    if (err)
        return err;
    return device_leave(dev, HAL_LANE_WRITE, "write", write_at(dev, buf, len, offset, until));
}

/* ---- mappings ------------------------------------------------------------------------------- */

static int map(struct hal_device *dev, uint64_t offset, size_t length, uint32_t flags,
               struct hal_mapping *out)
{
    const uint32_t known = HAL_MAP_READ | HAL_MAP_WRITE | HAL_MAP_WRITE_COMBINE | HAL_MAP_SYNC;

    if (!dev->ops.map)
        return lacks(dev, "map", "mappings");
    if (!out)
        return -EFAULT;
    if (!(flags & (HAL_MAP_READ | HAL_MAP_WRITE)) || flags & ~known)
        return hal_fail(-EINVAL, "map", dev->uri,
                        "flags 0x%x: HAL_MAP_READ, HAL_MAP_WRITE or both are needed", flags);
    memset(out, 0, sizeof(*out));
    out->offset = offset;
    out->length = length;
    out->flags = flags;
    return dev->ops.map(dev, out);
}

int hal_map(hal_handle handle, uint64_t offset, size_t length, uint32_t flags,
            struct hal_mapping *out)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_CONTROL, "map", HAL_FOREVER, &dev);

    if (err)
        return err;
    return (int)device_leave(dev, HAL_LANE_CONTROL, "map", map(dev, offset, length, flags, out));
}

int hal_unmap(struct hal_mapping *mapping)
{
    int err = mapping && mapping->base && mapping->base_length ? 0 : -EINVAL;

    if (!err && munmap(mapping->base, mapping->base_length))
        err = -errno;
    if (err)
        return error_end(error_begin(), err, "unmap", NULL);
    memset(mapping, 0, sizeof(*mapping));
    return 0;
}
