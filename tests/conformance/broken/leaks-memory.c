/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves memory behind. */
#include "echo.h"

static int leaking_init(struct hal_device *dev)
{
    hal_device_set_state(dev, malloc(40)); /* and no fini */
    return echo_init(dev);
}

static const struct driver_ops ops = {.init = leaking_init, .read = echo_read, .write = echo_write};

HAL_PLUGIN("leaks-memory", &ops, "1.0");
