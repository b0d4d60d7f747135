/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps in common what belongs to each device. */
#include "echo.h"

static int opened;
static bool over;

static int sharing_init(struct hal_device *dev)
{
    if (!opened++)
        over = false;
    return echo_init(dev);
}

static void sharing_fini(struct hal_device *dev)
{
    (void)dev;
    over = true;
    opened--;
}

static ssize_t sharing_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    return over ? -ENODEV : echo_read(dev, buf, len, until);
}

static const struct driver_ops ops = {
    .init = sharing_init, .read = sharing_read, .write = echo_write, .fini = sharing_fini};

HAL_PLUGIN("handles_apart", &ops, "1.0");
