/* SPDX-License-Identifier: Apache-2.0 */
/* The file is called otherwise than the driver. */
#include "null.h"

HAL_PLUGIN("somebody-else", &null_ops, "1");
