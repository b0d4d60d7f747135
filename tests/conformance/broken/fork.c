/* SPDX-License-Identifier: Apache-2.0 */
/* Empties the parent's device in the child. */
#include <pthread.h>

#include "echo.h"

static int own = -1; /* a second descriptor of the device opened last */

static void drain(void)
{
    char bytes[64];

    while (own >= 0 && read(own, bytes, sizeof(bytes)) > 0)
        ;
}

static int draining_init(struct hal_device *dev)
{
    static bool known;
    int err = echo_init(dev);

    if (!known)
        pthread_atfork(NULL, NULL, drain);
    known = true;
    if (!err)
        own = fcntl(hal_device_fd(dev), F_DUPFD_CLOEXEC, 0);
    return err;
}

static void draining_fini(struct hal_device *dev)
{
    (void)dev;
    close(own);
    own = -1;
}

static const struct driver_ops ops = {
    .init = draining_init, .read = echo_read, .write = echo_write, .fini = draining_fini};

HAL_PLUGIN("fork", &ops, "1.0");
