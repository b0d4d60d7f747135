/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sound driver, what is written can be read back, in pieces: each broken driver beside it
 * replaces one piece by a faulty one, named after the check that must find it.
 */
#ifndef ECHO_H
#define ECHO_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hal/driver.h>

#define PIECE __attribute__((unused)) static

PIECE int echo_init(struct hal_device *dev)
{
    int ends[2];

    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC))
        return -errno;
    hal_device_set_fds(dev, ends[0], ends[1]);
    return 0;
}

PIECE ssize_t echo_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = read(hal_device_fd(dev), buf, len);

    (void)until;
    return n < 0 ? -errno : n;
}

PIECE ssize_t echo_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    ssize_t n = write(hal_device_fd_out(dev), buf, len);

    (void)until;
    return n < 0 ? -errno : n;
}

PIECE void sleep_ms(long ms)
{
    usleep((useconds_t)ms * 1000);
}

#endif
