/* SPDX-License-Identifier: Apache-2.0 */
/* Forgets what is left of an offset within its page. */
#include "memory.h"

static int page_map(struct hal_device *dev, struct hal_mapping *mapping)
{
    int err = memory_map(dev, mapping);

    if (!err)
        mapping->address = (uint8_t *)mapping->base + (mapping->offset & ~(uint64_t)(PAGE - 1));
    return err;
}

static const struct driver_ops ops = {MEMORY_OPS, .map = page_map};

HAL_PLUGIN("map_content", &ops, "1.0");
