/* SPDX-License-Identifier: Apache-2.0 */
/* Once cancelled, for ever cancelled. */
#include "echo.h"

static ssize_t offended_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    static bool cancelled;
    ssize_t n = echo_read(dev, buf, len, until);

    if (n != -EAGAIN || until < hal_now())
        return n;
    if (cancelled)
        return -ECANCELED;
    n = hal_device_wait(dev, HAL_LANE_READ, hal_device_fd(dev), POLLIN, until);
    cancelled = n == -ECANCELED;
    return n < 0 ? n : -EAGAIN;
}

static const struct driver_ops ops = {
    .init = echo_init, .read = offended_read, .write = echo_write};

HAL_PLUGIN("cancel_read", &ops, "1.0");
