/* SPDX-License-Identifier: Apache-2.0 */
/* A shared object without the entry symbol. */
#include "null.h"

const struct driver_ops *not_the_entry(void);

const struct driver_ops *not_the_entry(void)
{
    return &null_ops;
}
