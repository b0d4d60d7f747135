/* SPDX-License-Identifier: Apache-2.0 */
/* Goes on waiting after a signal. */
#include "echo.h"

static ssize_t deaf_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n;

    while ((n = echo_read(dev, buf, len, until)) == -EAGAIN) {
        n = hal_device_wait(dev, HAL_LANE_READ, hal_device_fd(dev), POLLIN, until);
        if (n < 0 && n != -EINTR)
            break;
    }
    return n;
}

static const struct driver_ops ops = {.init = echo_init, .read = deaf_read, .write = echo_write};

HAL_PLUGIN("interrupted", &ops, "1.0");
