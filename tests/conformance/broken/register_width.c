/* SPDX-License-Identifier: Apache-2.0 */
/* Stores whole words of 4 bytes at least, as some buses do. */
#include "memory.h"

static int wide_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    return memory_store(dev, offset, width < 4 ? 4 : width, value);
}

static const struct driver_ops ops = {MEMORY_OPS, .store = wide_store};

HAL_PLUGIN("register_width", &ops, "1.0");
