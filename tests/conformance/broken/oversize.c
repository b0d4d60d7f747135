/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps lengths in a register of 24 bits. */
#include "echo.h"

static ssize_t narrow_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    return echo_read(dev, buf, len & 0xffffff, until);
}

static const struct driver_ops ops = {.init = echo_init, .read = narrow_read, .write = echo_write};

HAL_PLUGIN("oversize", &ops, "1.0");
