/* SPDX-License-Identifier: Apache-2.0 */
/* Opens as long as it likes, whatever the deadline. */
#include "echo.h"

static int slow_init(struct hal_device *dev)
{
    if (hal_device_open_deadline(dev) < hal_now())
        sleep_ms(1500);
    return echo_init(dev);
}

static const struct driver_ops ops = {.init = slow_init, .read = echo_read, .write = echo_write};

HAL_PLUGIN("opening", &ops, "1.0");
