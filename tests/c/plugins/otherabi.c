/* SPDX-License-Identifier: Apache-2.0 */
/* Built for another binary interface. */
#include "null.h"

HAL_API extern const struct hal_plugin hal_plugin;
const struct hal_plugin hal_plugin = {HAL_PLUGIN_MAGIC, 4711,      sizeof(struct driver_ops),
                                      "otherabi",       &null_ops, "1"};
