/* SPDX-License-Identifier: Apache-2.0 */
/* Empties its memory when it is closed, though somebody may have it mapped. */
#include "memory.h"

static void emptying_fini(struct hal_device *dev)
{
    (void)!ftruncate(memory_of(dev)->fd, 0);
    memory_fini(dev);
}

static const struct driver_ops ops = {MEMORY_OPS, .fini = emptying_fini};

HAL_PLUGIN("map_outlives", &ops, "1.0");
