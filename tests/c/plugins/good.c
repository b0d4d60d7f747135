/* SPDX-License-Identifier: Apache-2.0 */
/* As it should be. */
#include "null.h"

HAL_PLUGIN("good", &null_ops, "1.2.3");
