/* SPDX-License-Identifier: Apache-2.0 */
/* The entry symbol is something else. */
#include "null.h"

HAL_API extern const struct hal_plugin hal_plugin;
const struct hal_plugin hal_plugin = {0xdeadbeef, HAL_ABI_VERSION, sizeof(struct driver_ops),
                                      "nomagic",  &null_ops,       "1"};
