/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing is wrong with this one. */
#include "memory.h"

static const struct driver_ops ops = {MEMORY_OPS};

HAL_PLUGIN("sound-memory", &ops, "1.0");
