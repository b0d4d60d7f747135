/* SPDX-License-Identifier: Apache-2.0 */
/* The least a driver can be: it takes everything and has nothing. */
#ifndef TEST_PLUGIN_NULL_H
#define TEST_PLUGIN_NULL_H

#include <hal/driver.h>

static int null_init(struct hal_device *dev)
{
    (void)dev;
    return 0;
}

static ssize_t null_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    (void)dev, (void)buf, (void)len, (void)until;
    return 0;
}

static ssize_t null_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)dev, (void)buf, (void)until;
    return (ssize_t)len;
}

static const struct driver_ops null_ops = {
    .init = null_init,
    .read = null_read,
    .write = null_write,
    .summary = "Takes everything, has nothing",
    .address = "(none)",
};

#endif
