/* SPDX-License-Identifier: Apache-2.0 */
/* Maps what it is asked for, whether it has it or not. */
#include "memory.h"

static int generous_map(struct hal_device *dev, struct hal_mapping *mapping)
{
    return memory_map_as(dev, mapping, memory_protection(mapping));
}

static const struct driver_ops ops = {MEMORY_OPS, .map = generous_map};

HAL_PLUGIN("map_range", &ops, "1.0");
