/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any file as a recording: `replay` refuses it with a message, or is a device that answers from it,
 * whatever a program then does with it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hal/hal.h>

#include "must.h"

/* The name of a file with this content; it is the same file every time. */
static const char *file_of(const uint8_t *data, size_t size)
{
    static char uri[64];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("recording", MFD_CLOEXEC);
        MUST(fd >= 0);
        snprintf(uri, sizeof(uri), "replay:/proc/self/fd/%d", fd);
    }
    MUST(!ftruncate(fd, 0) && pwrite(fd, data, size, 0) == (ssize_t)size);
    return uri;
}

static void use_attributes(hal_handle dev)
{
    long count = hal_attribute_count(dev);
    const struct hal_attribute *attr;
    struct hal_value value;

    MUST(count >= 0);
    for (size_t i = 0; i < (size_t)count; i++) {
        MUST(!hal_attribute_at(dev, i, &attr) && *attr->name);
        MUST(attr->type >= HAL_TYPE_BOOL && attr->type <= HAL_TYPE_CHOICE);
        if (!hal_get(dev, attr->name, &value, HAL_NOWAIT))
            hal_set(dev, attr->name, &value, HAL_NOWAIT);
    }
}

static void use_lanes(hal_handle dev)
{
    uint8_t bytes[64] = "*IDN?\n";
    const struct hal_segment segments[] = {{.tx = bytes, .len = 1}, {.rx = bytes + 8, .len = 2}};

    for (int turn = 0; turn < 4; turn++) {
        ssize_t n = hal_read(dev, bytes + 8, sizeof(bytes) - 8, HAL_NOWAIT);
        MUST(n <= (ssize_t)sizeof(bytes) - 8);
        MUST(hal_write(dev, bytes, 6, HAL_NOWAIT) <= 6);
        hal_transfer(dev, segments, 2, HAL_NOWAIT);
        hal_control(dev, 1, bytes, 8, HAL_NOWAIT);
        hal_poll(dev, POLLIN | POLLOUT, HAL_NOWAIT);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hal_handle dev = hal_open(file_of(data, size), HAL_NOWAIT);

    if (dev < 0) {
        MUST(dev != -ENOENT); /* the driver is there */
        MUST(hal_last_errno() == -dev && *hal_last_error());
        return 0;
    }
    use_attributes(dev);
    use_lanes(dev);
    MUST(!hal_close(dev));
    return 0;
}
