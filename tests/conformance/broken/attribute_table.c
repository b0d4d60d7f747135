/* SPDX-License-Identifier: Apache-2.0 */
/* An attribute that nobody has described. */
#include "echo.h"

static int get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)dev;
    (void)attr;
    out->i = 5;
    return 0;
}

static const struct hal_attribute attributes[] = {{.name = "level",
                                                   .type = HAL_TYPE_INT,
                                                   .access = HAL_ATTR_READ,
                                                   .min = 0,
                                                   .max = 10,
                                                   .get = get}};

static const struct driver_ops ops = {.init = echo_init,
                                      .read = echo_read,
                                      .write = echo_write,
                                      .attributes = attributes,
                                      .attribute_count = 1};

HAL_PLUGIN("attribute_table", &ops, "1.0");
