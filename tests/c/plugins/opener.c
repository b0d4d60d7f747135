/* SPDX-License-Identifier: Apache-2.0 */
/* Opens a device when it is loaded. */
#include "null.h"

__attribute__((constructor)) static void use(void)
{
    hal_handle dev = hal_open("good", HAL_FOREVER);

    if (dev > 0)
        hal_close(dev);
}

HAL_PLUGIN("opener", &null_ops, "1");
