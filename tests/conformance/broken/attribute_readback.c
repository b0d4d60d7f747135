/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a setting and forgets it. */
#include "echo.h"

static int get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)dev;
    (void)attr;
    out->i = 5;
    return 0;
}

static int set(struct hal_device *dev, const struct hal_attribute *attr,
               const struct hal_value *value)
{
    (void)dev;
    (void)attr;
    (void)value;
    return 0;
}

static const struct hal_attribute attributes[] = {{.name = "level",
                                                   .doc = "How loud.",
                                                   .type = HAL_TYPE_INT,
                                                   .access = HAL_ATTR_READ | HAL_ATTR_WRITE,
                                                   .min = 0,
                                                   .max = 10,
                                                   .get = get,
                                                   .set = set}};

static const struct driver_ops ops = {.init = echo_init,
                                      .read = echo_read,
                                      .write = echo_write,
                                      .attributes = attributes,
                                      .attribute_count = 1};

HAL_PLUGIN("attribute_readback", &ops, "1.0");
