/* SPDX-License-Identifier: Apache-2.0 */
/* The read buffer of a device, and the reads that need one. All of it runs in the read lane. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* A tty hands out at most this much at once (N_TTY_BUF_SIZE), a pipe multiples of it. */
#define CHUNK 4096

static size_t held(const struct hal_device *dev)
{
    return atomic_load_explicit(&dev->buffered, memory_order_relaxed);
}

static void set_held(struct hal_device *dev, size_t count)
{
    atomic_store_explicit(&dev->buffered, count, memory_order_relaxed);
}

size_t buffer_size(const struct hal_device *dev)
{
    return atomic_load_explicit(&dev->buffer_size, memory_order_relaxed);
}

static void set_size(struct hal_device *dev, size_t size)
{
    atomic_store_explicit(&dev->buffer_size, size, memory_order_relaxed);
}

static uint8_t *first(const struct hal_device *dev)
{
    return dev->buffer + dev->buffer_start;
}

/* Has the device been flushed since somebody last looked? Then what is held is forgotten. */
static bool dropped(struct hal_device *dev)
{
    if (!atomic_load_explicit(&dev->drop, memory_order_relaxed) || !atomic_exchange(&dev->drop, 0))
        return false;
    set_held(dev, 0);
    return true;
}

static void consume(struct hal_device *dev, size_t len)
{
    size_t left = held(dev) - len;

    dev->buffer_start = left ? dev->buffer_start + len : 0;
    set_held(dev, left);
}

size_t buffer_take(struct hal_device *dev, void *buf, size_t len)
{
    size_t n;

    dropped(dev);
    n = held(dev) < len ? held(dev) : len;
    if (n) {
        memcpy(buf, first(dev), n);
        consume(dev, n);
    }
    return n;
}

void buffer_release(struct hal_device *dev)
{
    free(dev->buffer);
    dev->buffer = NULL;
    set_size(dev, 0);
    dev->buffer_start = 0;
    set_held(dev, 0);
    atomic_store_explicit(&dev->drop, 0, memory_order_relaxed);
}

/* Make room for `more` bytes behind what is held. */
static int reserve(struct hal_device *dev, size_t more)
{
    size_t need = held(dev) + more, size = buffer_size(dev);
    uint8_t *grown;

    if (dev->buffer_start + need <= size)
        return 0;
    if (need <= size) {
        memmove(dev->buffer, first(dev), held(dev));
        dev->buffer_start = 0;
        return 0;
    }
    for (size = size ? size : CHUNK; size < need;)
        size *= 2;
    grown = malloc(size);
    if (!grown)
        return -ENOMEM;
    if (dev->buffer)
        memcpy(grown, first(dev), held(dev));
    free(dev->buffer);
    dev->buffer = grown;
    set_size(dev, size);
    dev->buffer_start = 0;
    return 0;
}

/* Put bytes that were read, but not handed out, before all that is held. */
static int put_back(struct hal_device *dev, const uint8_t *bytes, size_t len)
{
    int err;

    if (!len)
        return 0;
    err = reserve(dev, len);
    if (err)
        return err;
    memmove(dev->buffer + len, first(dev), held(dev));
    memcpy(dev->buffer, bytes, len);
    dev->buffer_start = 0;
    set_held(dev, held(dev) + len);
    return 0;
}

/* Read one chunk behind what is held. */
static ssize_t fill(struct hal_device *dev, hal_deadline until)
{
    ssize_t n = reserve(dev, CHUNK);

    if (n < 0)
        return n;
    n = device_read(dev, first(dev) + held(dev), CHUNK, until);
    if (n > 0) {
        size_t before = held(dev);
        if (dropped(dev))
            memmove(first(dev), first(dev) + before, (size_t)n);
        set_held(dev, held(dev) + (size_t)n);
    }
    return n ? n : -ENODATA;
}

static ssize_t read_exact(struct hal_device *dev, uint8_t *buf, size_t len, hal_deadline until)
{
    size_t got = buffer_take(dev, buf, len);

    while (got < len) {
        ssize_t n = device_read(dev, buf + got, len - got, until);
        if (n <= 0) {
            int err = dropped(dev) ? 0 : put_back(dev, buf, got);
            if (err)
                return err;
            return n ? n
                     : hal_fail_plain(-ENODATA, "read", dev->uri,
                                      "the device ended after %zu of %zu bytes", got, len);
        }
        if (dropped(dev)) {
            memmove(buf, buf + got, (size_t)n);
            got = 0;
        }
        got += (size_t)n;
    }
    return (ssize_t)len;
}

/* Length of the first line within the first `limit` bytes held, delimiter included; 0: none.
 * Bytes before `from` are known to hold no delimiter's start. */
static size_t find_line(const struct hal_device *dev, size_t from, size_t limit,
                        const void *delimiter, size_t length)
{
    size_t count = held(dev) < limit ? held(dev) : limit;
    uint8_t *hit;

    if (count < from + length)
        return 0;
    hit = length == 1 ? memchr(first(dev) + from, *(const uint8_t *)delimiter, count - from)
                      : memmem(first(dev) + from, count - from, delimiter, length);
    return hit ? (size_t)(hit - first(dev)) + length : 0;
}

static ssize_t read_until(struct hal_device *dev, void *buf, size_t size, const void *delimiter,
                          size_t length, hal_deadline until)
{
    size_t searched = 0, line;

    dropped(dev);
    while (!(line = find_line(dev, searched, size, delimiter, length))) {
        size_t before = held(dev);
        ssize_t n;
        if (before >= size)
            return hal_fail_plain(-EMSGSIZE, "read line", dev->uri,
                                  "no delimiter within %zu bytes; they stay in the device", size);
        searched = before >= length ? before - length + 1 : 0;
        n = fill(dev, until);
        if (n == -ENODATA)
            return hal_fail_plain(-ENODATA, "read line", dev->uri,
                                  "the device ended before the delimiter");
        if (n < 0)
            return n;
        if (held(dev) < before + (size_t)n)
            searched = 0; /* flushed meanwhile */
    }
    return (ssize_t)buffer_take(dev, buf, line);
}

ssize_t hal_read_exact(hal_handle handle, void *buf, size_t len, hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_READ, "read", until, &dev);

    if (err)
        return err;
    if (len && !buf)
        return device_leave(dev, HAL_LANE_READ, "read", -EFAULT);
    if (len > HAL_LENGTH_MAX)
        return device_leave(dev, HAL_LANE_READ, "read", -EINVAL);
    return device_leave(dev, HAL_LANE_READ, "read", read_exact(dev, buf, len, until));
}

ssize_t hal_read_until(hal_handle handle, void *buf, size_t size, const void *delimiter,
                       size_t length, hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_READ, "read line", until, &dev);

    if (err)
        return err;
    if (!buf || !delimiter)
        return device_leave(dev, HAL_LANE_READ, "read line", -EFAULT);
    if (!length || length > HAL_DELIMITER_MAX || !size)
        return device_leave(dev, HAL_LANE_READ, "read line",
                            hal_fail(-EINVAL, "read line", dev->uri,
                                     "a delimiter has 1 .. %d bytes, a line at least 1",
                                     HAL_DELIMITER_MAX));
    return device_leave(dev, HAL_LANE_READ, "read line",
                        read_until(dev, buf, size, delimiter, length, until));
}

size_t buffer_pending(const struct hal_device *dev)
{
    return atomic_load(&dev->drop) ? 0 : held(dev);
}

ssize_t hal_pending(hal_handle handle)
{
    struct hal_device *dev;
    ssize_t count = device_guest(handle, "pending", &dev);

    if (count)
        return count;
    count = (ssize_t)buffer_pending(dev);
    device_unguest(dev);
    return count;
}

void hal_device_drop_input(struct hal_device *dev)
{
    atomic_store(&dev->drop, 1);
}
