/* SPDX-License-Identifier: Apache-2.0 */
/* It has no name. */
#include "null.h"

HAL_PLUGIN(NULL, &null_ops, "1");
