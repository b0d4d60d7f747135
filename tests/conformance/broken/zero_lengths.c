/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at the argument of a request that has none. */
#include "echo.h"

static long hasty_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                          hal_deadline until)
{
    volatile const uint8_t *first = arg;

    (void)dev;
    (void)size;
    (void)until;
    return request == 1 ? *first : *first ? -ENOTTY : -ENOTTY;
}

static const struct driver_ops ops = {
    .init = echo_init, .read = echo_read, .write = echo_write, .control = hasty_control};

HAL_PLUGIN("zero_lengths", &ops, "1.0");
