/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a deadline that has passed for a long one. */
#include "echo.h"

static ssize_t late_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = echo_read(dev, buf, len, until);

    if (n == -EAGAIN && until != HAL_NOWAIT && until <= 1)
        sleep_ms(1200);
    return n;
}

static const struct driver_ops ops = {.init = echo_init, .read = late_read, .write = echo_write};

HAL_PLUGIN("past_deadline", &ops, "1.0");
