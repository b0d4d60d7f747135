/* SPDX-License-Identifier: Apache-2.0 */
/* Refuses to read while it writes. */
#include <stdatomic.h>

#include "echo.h"

static atomic_bool writing;

static ssize_t rival_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    return writing ? -EBUSY : echo_read(dev, buf, len, until);
}

static ssize_t long_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    ssize_t n;

    writing = true;
    n = echo_write(dev, buf, len, until);
    sleep_ms(2);
    writing = false;
    return n;
}

static const struct driver_ops ops = {.init = echo_init, .read = rival_read, .write = long_write};

HAL_PLUGIN("read_and_write", &ops, "1.0");
