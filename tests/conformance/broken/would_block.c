/* SPDX-License-Identifier: Apache-2.0 */
/* Waits a little although it was told not to. */
#include "echo.h"

static ssize_t patient_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = echo_read(dev, buf, len, until);

    if (n == -EAGAIN && until == HAL_NOWAIT)
        sleep_ms(100);
    return n;
}

static const struct driver_ops ops = {.init = echo_init, .read = patient_read, .write = echo_write};

HAL_PLUGIN("would_block", &ops, "1.0");
