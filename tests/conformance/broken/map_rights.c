/* SPDX-License-Identifier: Apache-2.0 */
/* Gives the right to write to whoever asks to read. */
#include "memory.h"

static int writable_map(struct hal_device *dev, struct hal_mapping *mapping)
{
    if (!memory_within(mapping->offset, mapping->length ? mapping->length : 1))
        return -ERANGE;
    return memory_map_as(dev, mapping, PROT_READ | PROT_WRITE);
}

static const struct driver_ops ops = {MEMORY_OPS, .map = writable_map};

HAL_PLUGIN("map_rights", &ops, "1.0");
