/* SPDX-License-Identifier: Apache-2.0 */
/* Tidies up at leisure before it says that the time is over. */
#include "echo.h"

static ssize_t late_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = echo_read(dev, buf, len, until);

    if (n != -EAGAIN || until < hal_now())
        return n;
    n = hal_device_wait(dev, HAL_LANE_READ, hal_device_fd(dev), POLLIN, until);
    if (n == -ETIMEDOUT)
        sleep_ms(1200);
    return n < 0 ? n : -EAGAIN;
}

static const struct driver_ops ops = {.init = echo_init, .read = late_read, .write = echo_write};

HAL_PLUGIN("deadline", &ops, "1.0");
