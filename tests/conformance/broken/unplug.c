/* SPDX-License-Identifier: Apache-2.0 */
/* Calls a device that is gone an input/output error. */
#include <stdatomic.h>

#include "echo.h"

static atomic_bool gone;

static ssize_t vague_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    return gone ? -EIO : echo_read(dev, buf, len, until);
}

static int get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)dev;
    (void)attr;
    out->b = gone;
    return 0;
}

static int set(struct hal_device *dev, const struct hal_attribute *attr,
               const struct hal_value *value)
{
    (void)attr;
    gone = value->b;
    hal_device_wake(dev, POLLIN);
    return 0;
}

static const struct hal_attribute attributes[] = {{.name = "unplugged",
                                                   .doc = "Whether it is gone.",
                                                   .type = HAL_TYPE_BOOL,
                                                   .access = HAL_ATTR_READ | HAL_ATTR_WRITE,
                                                   .get = get,
                                                   .set = set}};

static const struct driver_ops ops = {.init = echo_init,
                                      .read = vague_read,
                                      .write = echo_write,
                                      .attributes = attributes,
                                      .attribute_count = 1};

HAL_PLUGIN("unplug", &ops, "1.0");
