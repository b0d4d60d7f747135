/* SPDX-License-Identifier: Apache-2.0 */
/* What is done with an open device: bytes, transfers, requests, waits and wakes. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* A short vectored write is joined into one, so that a message stays one message. */
#define JOIN_MAX 4096

ssize_t device_leave(struct hal_device *dev, enum hal_lane which, const char *operation,
                     ssize_t result)
{
    if (UNLIKELY(result < 0))
        error_end(dev->lanes[which].error_mark, (int)result, operation, dev->uri);
    lane_leave(&dev->lanes[which]);
    return result;
}

static size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- read and write ------------------------------------------------------------------------- */

static int say_hung_up(struct hal_device *dev, const char *operation)
{
    return hal_fail(-ENODEV, operation, dev->uri, "the descriptor reports a hang-up or an error");
}

/* A descriptor that has hung up, or has an error, wakes us at once for ever. A driver that finds
 * nothing there so often in a row will not find anything any more. */
#define TROUBLE_MAX 16

static unsigned count_trouble(unsigned trouble, int events)
{
    return events & (POLLERR | POLLHUP | POLLNVAL) ? trouble + 1 : 0;
}

ssize_t device_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct lane *lane = &dev->lanes[HAL_LANE_READ];
    unsigned trouble = 0;

    for (;;) {
        lane->wakes_seen = atomic_load_explicit(&lane->wakes, memory_order_acquire);
        ssize_t n = dev->ops.read(dev, buf, len, until);
        if (UNLIKELY(n > (ssize_t)len))
            return hal_fail_plain(-EPROTO, "read", dev->uri,
                                  "the driver says %zd bytes, %zu were asked for", n, len);
        if (LIKELY(n != -EAGAIN))
            return n;
        if (trouble == TROUBLE_MAX)
            return say_hung_up(dev, "read");
        n = lane_wait(lane, dev->fd_in, POLLIN, until);
        if (n < 0)
            return n;
        trouble = count_trouble(trouble, (int)n);
    }
}

/* One write by the driver, waiting until it takes something. */
static ssize_t write_some(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    struct lane *lane = &dev->lanes[HAL_LANE_WRITE];
    unsigned trouble = 0;

    for (;;) {
        lane->wakes_seen = atomic_load_explicit(&lane->wakes, memory_order_acquire);
        ssize_t n = dev->ops.write(dev, buf, len, until);
        if (UNLIKELY(n == 0 || n > (ssize_t)len))
            return hal_fail_plain(-EPROTO, "write", dev->uri,
                                  "the driver says it took %zd of %zu bytes", n, len);
        if (LIKELY(n != -EAGAIN))
            return n;
        if (trouble == TROUBLE_MAX)
            return say_hung_up(dev, "write");
        n = lane_wait(lane, dev->fd_out, POLLOUT, until);
        if (n < 0)
            return n;
        trouble = count_trouble(trouble, (int)n);
    }
}

ssize_t device_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    const uint8_t *bytes = buf;
    size_t done = 0;

    while (done < len) {
        ssize_t n = write_some(dev, bytes + done, len - done, until);
        if (n < 0)
            return done ? (ssize_t)done : n;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static ssize_t read_some(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    if (UNLIKELY(!len))
        return 0;
    if (UNLIKELY(!buf))
        return -EFAULT;
    len = size_min(len, HAL_LENGTH_MAX);
    if (UNLIKELY(atomic_load_explicit(&dev->buffered, memory_order_relaxed))) {
        size_t n = buffer_take(dev, buf, len);
        if (n)
            return (ssize_t)n;
    }
    return device_read(dev, buf, len, until);
}

static int check_handle(hal_handle handle, const char *operation)
{
    struct hal_device *dev;
    int err = device_guest(handle, operation, &dev);

    if (!err)
        device_unguest(dev);
    return err;
}

static ssize_t read_slow(hal_handle handle, void *buf, size_t len, hal_deadline until)
{
    struct hal_device *dev;
    int err;

    if (!len)
        return check_handle(handle, "read");
    err = device_enter(handle, HAL_LANE_READ, "read", until, &dev);
    if (err)
        return err;
    return device_leave(dev, HAL_LANE_READ, "read", read_some(dev, buf, len, until));
}

/* The way most reads go is written out: nothing is buffered, and the descriptor has something. */
ssize_t hal_read(hal_handle handle, void *buf, size_t len, hal_deadline until)
{
    struct hal_device *dev = device_try_enter(handle, HAL_LANE_READ);
    ssize_t n;

    if (UNLIKELY(!dev))
        return read_slow(handle, buf, len, until);
    if (LIKELY(dev->plain_in >= 0 && !atomic_load_explicit(&dev->buffered, memory_order_relaxed))) {
        n = read(dev->plain_in, buf, len);
        if (n < 0 && until <= HAL_NOWAIT && errno == EAGAIN && buf)
            n = -EAGAIN; /* no reason to ask the driver, who would read once more */
        if (LIKELY(n > 0 || n == -EAGAIN)) {
            lane_leave(&dev->lanes[HAL_LANE_READ]);
            return n;
        }
    }
    lane_begin(&dev->lanes[HAL_LANE_READ], until);
    return device_leave(dev, HAL_LANE_READ, "read", read_some(dev, buf, len, until));
}

static ssize_t write_checked(struct hal_device *dev, const void *buf, size_t len,
                             hal_deadline until)
{
    if (len && !buf)
        return -EFAULT;
    return device_write(dev, buf, size_min(len, HAL_LENGTH_MAX), until);
}

static ssize_t write_slow(hal_handle handle, const void *buf, size_t len, hal_deadline until)
{
    struct hal_device *dev;
    int err;

    if (!len)
        return check_handle(handle, "write");
    err = device_enter(handle, HAL_LANE_WRITE, "write", until, &dev);
    if (err)
        return err;
    return device_leave(dev, HAL_LANE_WRITE, "write", write_checked(dev, buf, len, until));
}

/* What the descriptor left over goes the ordinary way. Nothing more of it is a partial success. */
static ssize_t write_rest(struct hal_device *dev, const void *buf, size_t len, size_t done,
                          hal_deadline until)
{
    ssize_t n = write_checked(dev, (const uint8_t *)buf + done, len - done, until);

    return n >= 0 || !done ? n + (ssize_t)done : (ssize_t)done;
}

ssize_t hal_write(hal_handle handle, const void *buf, size_t len, hal_deadline until)
{
    struct hal_device *dev = device_try_enter(handle, HAL_LANE_WRITE);
    ssize_t n = 0;

    if (UNLIKELY(!dev))
        return write_slow(handle, buf, len, until);
    if (LIKELY(dev->plain_out >= 0 && len - 1 < HAL_LENGTH_MAX)) {
        n = write(dev->plain_out, buf, len);
        if (LIKELY(n == (ssize_t)len)) {
            lane_leave(&dev->lanes[HAL_LANE_WRITE]);
            return n;
        }
    }
    lane_begin(&dev->lanes[HAL_LANE_WRITE], until);
    return device_leave(dev, HAL_LANE_WRITE, "write",
                        write_rest(dev, buf, len, n > 0 ? (size_t)n : 0, until));
}

/* ---- vectored forms ------------------------------------------------------------------------- */

/* The bytes of all buffers, as far as one call goes, or why they are refused. */
static ssize_t total_length(const struct iovec *iov, size_t count)
{
    size_t total = 0;

    if (count > HAL_SEGMENTS_MAX)
        return -EINVAL;
    if (count && !iov)
        return -EFAULT;
    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len && !iov[i].iov_base)
            return -EFAULT;
        total += size_min(iov[i].iov_len, HAL_LENGTH_MAX - total);
    }
    return (ssize_t)total;
}

static ssize_t read_vector(struct hal_device *dev, const struct iovec *iov, size_t count,
                           hal_deadline until)
{
    ssize_t total = total_length(iov, count), got = 0;

    if (total <= 0)
        return total;
    for (size_t i = 0; i < count && got < total; i++) {
        size_t len = size_min(iov[i].iov_len, (size_t)(total - got));
        if (!len)
            continue;
        ssize_t n = read_some(dev, iov[i].iov_base, len, got ? HAL_NOWAIT : until);
        if (n < 0)
            return got ? got : n;
        got += n;
        if ((size_t)n < len)
            break;
    }
    return got;
}

static ssize_t write_vector(struct hal_device *dev, const struct iovec *iov, size_t count,
                            hal_deadline until)
{
    ssize_t total = total_length(iov, count), done = 0;
    uint8_t joined[JOIN_MAX];

    if (total <= 0)
        return total;
    if (total <= JOIN_MAX) {
        for (size_t i = 0; i < count; done += (ssize_t)iov[i++].iov_len)
            if (iov[i].iov_len)
                memcpy(joined + done, iov[i].iov_base, iov[i].iov_len);
        return device_write(dev, joined, (size_t)total, until);
    }
    for (size_t i = 0; i < count && done < total; i++) {
        size_t len = size_min(iov[i].iov_len, (size_t)(total - done));
        ssize_t n = device_write(dev, iov[i].iov_base, len, until);
        if (n < 0)
            return done ? done : n;
        done += n;
        if ((size_t)n < len)
            break;
    }
    return done;
}

ssize_t hal_readv(hal_handle handle, const struct iovec *iov, size_t count, hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_READ, "read", until, &dev);

    if (err)
        return err;
    return device_leave(dev, HAL_LANE_READ, "read", read_vector(dev, iov, count, until));
}

ssize_t hal_writev(hal_handle handle, const struct iovec *iov, size_t count, hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_WRITE, "write", until, &dev);

    if (err)
        return err;
    return device_leave(dev, HAL_LANE_WRITE, "write", write_vector(dev, iov, count, until));
}

/* ---- transfers and requests ----------------------------------------------------------------- */

int device_check_transfer(struct hal_device *dev, const struct hal_segment *segments, size_t count)
{
    size_t total = 0;

    if (!dev->ops.transfer)
        return hal_fail(-EOPNOTSUPP, "transfer", dev->uri, "driver \"%s\" has no transfers",
                        dev->driver->name);
    if (!segments)
        return -EFAULT;
    if (!count || count > HAL_SEGMENTS_MAX)
        return hal_fail(-EINVAL, "transfer", dev->uri, "%zu segments; 1 .. %d can be done", count,
                        HAL_SEGMENTS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (segments[i].len > HAL_LENGTH_MAX - total)
            return hal_fail(-EMSGSIZE, "transfer", dev->uri, "segment %zu: too long in all", i);
        total += segments[i].len;
    }
    return 0;
}

ssize_t device_transferred(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                           ssize_t n)
{
    size_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += segments[i].len;
    if (n > (ssize_t)total)
        return hal_fail_plain(-EPROTO, "transfer", dev->uri,
                              "the driver says %zd bytes, there are %zu", n, total);
    return n;
}

ssize_t device_transfer(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                        hal_deadline until)
{
    return device_transferred(dev, segments, count, dev->ops.transfer(dev, segments, count, until));
}

static ssize_t transfer(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                        hal_deadline until)
{
    int err = device_check_transfer(dev, segments, count);

    return err ? err : device_transfer(dev, segments, count, until);
}

ssize_t hal_transfer(hal_handle handle, const struct hal_segment *segments, size_t count,
                     hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_CONTROL, "transfer", until, &dev);

    if (err)
        return err;
    return device_leave(dev, HAL_LANE_CONTROL, "transfer", transfer(dev, segments, count, until));
}

int device_check_control(struct hal_device *dev, const void *arg, size_t size)
{
    if (!dev->ops.control)
        return hal_fail(-EOPNOTSUPP, "control", dev->uri, "driver \"%s\" has no requests",
                        dev->driver->name);
    return size && !arg ? -EFAULT : 0;
}

long device_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                    hal_deadline until)
{
    long result = dev->ops.control(dev, request, arg, size, until);

    if (result == -ENOTTY && !error_worded(dev->lanes[HAL_LANE_CONTROL].error_mark, -ENOTTY))
        return hal_fail(-ENOTTY, "control", dev->uri, "driver \"%s\" has no request 0x%x",
                        dev->driver->name, request);
    return result;
}

static long control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                    hal_deadline until)
{
    int err = device_check_control(dev, arg, size);

    return err ? err : device_control(dev, request, arg, size, until);
}

long hal_control(hal_handle handle, uint32_t request, void *arg, size_t size, hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_CONTROL, "control", until, &dev);

    if (err)
        return err;
    return device_leave(dev, HAL_LANE_CONTROL, "control", control(dev, request, arg, size, until));
}

/* ---- without a lane ------------------------------------------------------------------------- */

void device_cancel(struct hal_device *dev)
{
    for (size_t i = 0; i < COUNT_OF(dev->lanes); i++)
        lane_cancel(&dev->lanes[i]);
    pollers_cancel(dev);
}

int hal_cancel(hal_handle handle)
{
    struct hal_device *dev;
    int err = device_guest(handle, "cancel", &dev);

    if (err)
        return err;
    device_cancel(dev);
    device_unguest(dev);
    return 0;
}

static int descriptor(struct hal_device *dev, int events)
{
    int fd = events == POLLIN ? dev->fd_in : dev->fd_out;

    if (events != POLLIN && events != POLLOUT)
        return hal_fail(-EINVAL, "fd", dev->uri, "events are POLLIN or POLLOUT");
    if (fd < 0)
        return hal_fail(-EOPNOTSUPP, "fd", dev->uri, "driver \"%s\" has no descriptor for it",
                        dev->driver->name);
    return fd;
}

int hal_fd(hal_handle handle, int events)
{
    uint32_t mark = error_begin();
    struct hal_device *dev;
    int fd = device_guest(handle, "fd", &dev);

    if (fd)
        return fd;
    fd = descriptor(dev, events);
    if (fd < 0)
        error_end(mark, fd, "fd", dev->uri);
    device_unguest(dev);
    return fd;
}

static size_t memory_of(const struct hal_device *dev)
{
    return sizeof(*dev) + strlen(dev->uri) + 1 + strlen(dev->address) + 1 + buffer_size(dev);
}

int hal_describe(hal_handle handle, struct hal_description *out, size_t size)
{
    struct hal_description all = {.fd_in = -1};
    uint32_t mark = error_begin();
    struct hal_device *dev;
    int err = device_guest(handle, "describe", &dev);

    if (err)
        return err;
    if (!out || !size) {
        err = error_end(mark, out ? -EINVAL : -EFAULT, "describe", dev->uri);
    } else {
        strcpy(all.uri, dev->uri);
        strcpy(all.driver, dev->served_by ? dev->served_by : dev->driver->name);
        all.fd_in = dev->fd_in;
        all.fd_out = dev->fd_out;
        all.memory = memory_of(dev);
        memset(out, 0, size);
        memcpy(out, &all, size < sizeof(all) ? size : sizeof(all));
    }
    device_unguest(dev);
    return err;
}

/* ---- what a driver asks of its device ------------------------------------------------------- */

const char *hal_device_uri(const struct hal_device *dev)
{
    return dev->uri;
}

const char *hal_device_address(const struct hal_device *dev)
{
    return dev->address;
}

hal_deadline hal_device_open_deadline(const struct hal_device *dev)
{
    return dev->open_deadline;
}

void hal_device_set_state(struct hal_device *dev, void *state)
{
    dev->state = state;
}

int hal_device_set_served_by(struct hal_device *dev, const char *driver)
{
    int err = name_check(driver);

    if (err)
        return hal_fail_plain(err, "open", dev->uri, "driver \"%s\": %s", driver,
                              name_complaint(err));
    dev->served_by = driver;
    return 0;
}

void *hal_device_state(const struct hal_device *dev)
{
    return dev->state;
}

void hal_device_set_fd(struct hal_device *dev, int fd)
{
    hal_device_set_fds(dev, fd, fd);
}

void hal_device_set_fds(struct hal_device *dev, int fd_in, int fd_out)
{
    handle_set_fds(dev, fd_in, fd_out);
}

int hal_device_fd(const struct hal_device *dev)
{
    return dev->fd_in;
}

int hal_device_fd_out(const struct hal_device *dev)
{
    return dev->fd_out;
}

void hal_device_set_attributes(struct hal_device *dev, const struct hal_attribute *attributes,
                               size_t count)
{
    dev->attributes = attributes;
    dev->attribute_count = count;
}

int hal_device_wait(struct hal_device *dev, enum hal_lane lane, int fd, int events,
                    hal_deadline until)
{
    return lane_wait(&dev->lanes[lane], fd, events, until);
}

void hal_device_wake(struct hal_device *dev, int events)
{
    if (events & POLLIN)
        lane_wake(&dev->lanes[HAL_LANE_READ]);
    if (events & POLLOUT)
        lane_wake(&dev->lanes[HAL_LANE_WRITE]);
    if (!events)
        lane_wake(&dev->lanes[HAL_LANE_CONTROL]);
    pollers_wake(dev);
}
