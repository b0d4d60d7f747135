/* SPDX-License-Identifier: Apache-2.0 */
/* It has no table. */
#include "null.h"

const struct driver_ops *unused(void);

const struct driver_ops *unused(void)
{
    return &null_ops;
}

HAL_PLUGIN("notable", NULL, "1");
