/* SPDX-License-Identifier: Apache-2.0 */
/* Writes whole words: what does not fill one is filled up with zeros. */
#include "memory.h"

static ssize_t rounding_write_at(struct hal_device *dev, const void *buf, size_t len,
                                 uint64_t offset, hal_deadline until)
{
    ssize_t n = memory_write_at(dev, buf, len, offset, until);

    for (uint64_t at = offset + len; at % 4 && at < SIZE; at++)
        memory_of(dev)->bytes[at] = 0;
    return n;
}

static const struct driver_ops ops = {MEMORY_OPS, .write_at = rounding_write_at};

HAL_PLUGIN("block_content", &ops, "1.0");
