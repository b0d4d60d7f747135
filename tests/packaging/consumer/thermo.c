/* SPDX-License-Identifier: Apache-2.0 */
/* A driver outside the project: a thermometer that always reads 21.5 degrees. */
#include <errno.h>
#include <string.h>

#include <hal/driver.h>

static int thermo_init(struct hal_device *dev)
{
    (void)dev;
    return 0;
}

static ssize_t thermo_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    static const char celsius[] = "21.5";

    (void)dev;
    (void)until;
    if (len > sizeof(celsius) - 1)
        len = sizeof(celsius) - 1;
    memcpy(buf, celsius, len);
    return (ssize_t)len;
}

static ssize_t thermo_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)dev;
    (void)buf;
    (void)len;
    (void)until;
    return -EOPNOTSUPP;
}

static const struct driver_ops thermo_ops = {
    .init = thermo_init,
    .read = thermo_read,
    .write = thermo_write,
    .summary = "thermometer",
};

HAL_PLUGIN("thermo", &thermo_ops, "1.0");
