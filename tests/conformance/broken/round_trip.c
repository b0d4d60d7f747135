/* SPDX-License-Identifier: Apache-2.0 */
/* Changes carriage returns to newlines, as a terminal does. */
#include "echo.h"

static ssize_t cooked_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = echo_read(dev, buf, len, until);
    char *bytes = buf;

    for (ssize_t i = 0; i < n; i++)
        if (bytes[i] == '\r')
            bytes[i] = '\n';
    return n;
}

static const struct driver_ops ops = {.init = echo_init, .read = cooked_read, .write = echo_write};

HAL_PLUGIN("round_trip", &ops, "1.0");
