/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves a descriptor behind. */
#include "echo.h"

static int leaking_init(struct hal_device *dev)
{
    int err = echo_init(dev);

    return err || dup(hal_device_fd(dev)) >= 0 ? err : -errno;
}

static const struct driver_ops ops = {.init = leaking_init, .read = echo_read, .write = echo_write};

HAL_PLUGIN("leaks", &ops, "1.0");
