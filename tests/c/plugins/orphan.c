/* SPDX-License-Identifier: Apache-2.0 */
/* Registers itself when it is loaded, and has no entry symbol: the way without HAL_PLUGIN. */
#include "null.h"

__attribute__((constructor)) static void make(void)
{
    hal_register_driver("orphan", &null_ops);
}
