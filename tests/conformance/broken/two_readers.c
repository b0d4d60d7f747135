/* SPDX-License-Identifier: Apache-2.0 */
/* Loses a byte when another thread comes to read. */
#include <pthread.h>

#include "echo.h"

static pthread_t last;

static ssize_t jealous_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    char lost;

    if (!pthread_equal(last, pthread_self()) && read(hal_device_fd(dev), &lost, 1) < 0)
        return -errno;
    last = pthread_self();
    return echo_read(dev, buf, len, until);
}

static int first_init(struct hal_device *dev)
{
    last = pthread_self();
    return echo_init(dev);
}

static const struct driver_ops ops = {
    .init = first_init, .read = jealous_read, .write = echo_write};

HAL_PLUGIN("two_readers", &ops, "1.0");
