/* SPDX-License-Identifier: Apache-2.0 */
/* Its table lacks what is needed. */
#include "null.h"

static const struct driver_ops no_ops = {.init = null_init, .write = null_write};

/* What the header offers and this driver does not use. */
const struct driver_ops *unused(void);

const struct driver_ops *unused(void)
{
    return &null_ops;
}

HAL_PLUGIN("noread", &no_ops, "1");
