/* SPDX-License-Identifier: Apache-2.0 */
/* Sits out its close when somebody had been waiting. */
#include <stdatomic.h>

#include "echo.h"

static atomic_bool waiting;

static ssize_t noting_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = echo_read(dev, buf, len, until);

    waiting = n == -EAGAIN && until > hal_now();
    return n;
}

static void slow_fini(struct hal_device *dev)
{
    (void)dev;
    if (waiting)
        sleep_ms(1500);
}

static const struct driver_ops ops = {
    .init = echo_init, .read = noting_read, .write = echo_write, .fini = slow_fini};

HAL_PLUGIN("close_waiting", &ops, "1.0");
