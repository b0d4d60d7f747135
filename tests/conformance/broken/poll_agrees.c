/* SPDX-License-Identifier: Apache-2.0 */
/* Says that there is something to read whether there is or not. */
#include "echo.h"

static int hidden_init(struct hal_device *dev)
{
    int *ends = malloc(2 * sizeof(*ends));

    if (!ends || pipe2(ends, O_NONBLOCK | O_CLOEXEC)) {
        free(ends);
        return -ENOMEM;
    }
    hal_device_set_state(dev, ends);
    return 0;
}

static void hidden_fini(struct hal_device *dev)
{
    int *ends = hal_device_state(dev);

    close(ends[0]);
    close(ends[1]);
    free(ends);
}

static ssize_t hidden_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = read(*(int *)hal_device_state(dev), buf, len);

    (void)until;
    if (n > 0)
        hal_device_wake(dev, POLLOUT);
    return n < 0 ? -errno : n;
}

static ssize_t hidden_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    ssize_t n = write(((int *)hal_device_state(dev))[1], buf, len);

    (void)until;
    if (n > 0)
        hal_device_wake(dev, POLLIN);
    return n < 0 ? -errno : n;
}

static int hopeful_poll(struct hal_device *dev, int events)
{
    (void)dev;
    return events;
}

static const struct driver_ops ops = {.init = hidden_init,
                                      .read = hidden_read,
                                      .write = hidden_write,
                                      .fini = hidden_fini,
                                      .poll = hopeful_poll};

HAL_PLUGIN("poll_agrees", &ops, "1.0");
