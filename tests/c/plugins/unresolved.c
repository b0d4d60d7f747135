/* SPDX-License-Identifier: Apache-2.0 */
/* It calls what is nowhere. */
#include "null.h"

int function_that_is_nowhere(void);
int call_it(void);

int call_it(void)
{
    return function_that_is_nowhere();
}

HAL_PLUGIN("unresolved", &null_ops, "1");
