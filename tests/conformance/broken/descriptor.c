/* SPDX-License-Identifier: Apache-2.0 */
/* Stands on a descriptor that blocks, and reads it with a flag that does not. */
#include <sys/socket.h>

#include "echo.h"

static int blocking_init(struct hal_device *dev)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return -errno;
    hal_device_set_fds(dev, ends[0], ends[1]);
    return 0;
}

static ssize_t flagged_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = recv(hal_device_fd(dev), buf, len, MSG_DONTWAIT);

    (void)until;
    return n < 0 ? -errno : n;
}

static ssize_t flagged_write(struct hal_device *dev, const void *buf, size_t len,
                             hal_deadline until)
{
    ssize_t n = send(hal_device_fd_out(dev), buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    (void)until;
    return n < 0 ? -errno : n;
}

static const struct driver_ops ops = {
    .init = blocking_init, .read = flagged_read, .write = flagged_write};

HAL_PLUGIN("descriptor", &ops, "1.0");
