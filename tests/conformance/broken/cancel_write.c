/* SPDX-License-Identifier: Apache-2.0 */
/* Sits out a cancel of its write. */
#include "echo.h"

static ssize_t stubborn_write(struct hal_device *dev, const void *buf, size_t len,
                              hal_deadline until)
{
    ssize_t n = echo_write(dev, buf, len, until);

    if (n != -EAGAIN)
        return n;
    n = hal_device_wait(dev, HAL_LANE_WRITE, hal_device_fd_out(dev), POLLOUT, until);
    if (n == -ECANCELED)
        sleep_ms(1500);
    return n < 0 ? n : -EAGAIN;
}

static const struct driver_ops ops = {
    .init = echo_init, .read = echo_read, .write = stubborn_write};

HAL_PLUGIN("cancel_write", &ops, "1.0");
