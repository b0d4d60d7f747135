/* SPDX-License-Identifier: Apache-2.0 */
/* Registers more drivers when it is loaded. */
#include "null.h"

__attribute__((constructor)) static void make(void)
{
    hal_register_driver("made-one", &null_ops);
    hal_register_driver("made-two", &null_ops);
}

HAL_PLUGIN("maker", &null_ops, "1");
