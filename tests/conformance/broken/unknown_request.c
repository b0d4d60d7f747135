/* SPDX-License-Identifier: Apache-2.0 */
/* Calls a request it does not know an argument that is wrong. */
#include "echo.h"

static long vague_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                          hal_deadline until)
{
    (void)dev;
    (void)request;
    (void)arg;
    (void)size;
    (void)until;
    return -EINVAL;
}

static const struct driver_ops ops = {
    .init = echo_init, .read = echo_read, .write = echo_write, .control = vague_control};

HAL_PLUGIN("unknown_request", &ops, "1.0");
