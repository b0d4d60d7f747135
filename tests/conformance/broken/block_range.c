/* SPDX-License-Identifier: Apache-2.0 */
/* Tells of the end as a file does, with a count of 0, where it should be an error. */
#include "memory.h"

static ssize_t ending_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                              hal_deadline until)
{
    ssize_t n = memory_read_at(dev, buf, len, offset, until);

    return n == -ERANGE ? 0 : n;
}

static const struct driver_ops ops = {MEMORY_OPS, .read_at = ending_read_at};

HAL_PLUGIN("block_range", &ops, "1.0");
