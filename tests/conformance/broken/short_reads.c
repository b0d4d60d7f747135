/* SPDX-License-Identifier: Apache-2.0 */
/* Drops what a small buffer has no room for, as a datagram socket does. */
#include "echo.h"

static ssize_t dropping_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    char whole[64];
    ssize_t n = echo_read(dev, len < 16 ? whole : buf, len < 16 ? sizeof(whole) : len, until);

    if (n <= 0 || len >= 16)
        return n;
    n = n < (ssize_t)len ? n : (ssize_t)len;
    memcpy(buf, whole, (size_t)n);
    return n;
}

static const struct driver_ops ops = {
    .init = echo_init, .read = dropping_read, .write = echo_write};

HAL_PLUGIN("short_reads", &ops, "1.0");
