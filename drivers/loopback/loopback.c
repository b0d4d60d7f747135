/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback: what is written can be read back.
 *
 *     loopback:            holds up to 64 KiB
 *     loopback:?capacity=4096
 *
 * The reference example of a driver. It stands on a pipe(7): bytes in order, a bounded room, and
 * a descriptor for each direction, so the library can wait, apply deadlines and cancel by itself.
 * There is not one line here about any of that.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <hal/driver.h>

/* A pipe's size is a number of pages; the kernel rounds up and says what it made of it. */
static int loopback_init(struct hal_device *dev)
{
    struct hal_value capacity;
    int ends[2];

    hal_device_option(dev, "capacity", &capacity);
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC))
        return -errno;
    hal_device_set_fds(dev, ends[0], ends[1]); /* the library closes them, also if we fail below */
    if (fcntl(ends[1], F_SETPIPE_SZ, (int)capacity.i) < 0)
        return hal_fail(-errno, "open", hal_device_uri(dev), "capacity %lld",
                        (long long)capacity.i);
    return 0;
}

static ssize_t loopback_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = read(hal_device_fd(dev), buf, len);

    (void)until; /* we never wait: -EAGAIN makes the library do it */
    return n < 0 ? -errno : n;
}

static ssize_t loopback_write(struct hal_device *dev, const void *buf, size_t len,
                              hal_deadline until)
{
    ssize_t n = write(hal_device_fd_out(dev), buf, len);

    (void)until;
    return n < 0 ? -errno : n;
}

static int get_capacity(struct hal_device *dev, const struct hal_attribute *attr,
                        struct hal_value *out)
{
    int size = fcntl(hal_device_fd(dev), F_GETPIPE_SZ);

    (void)attr;
    out->i = size;
    return size < 0 ? -errno : 0;
}

static int get_waiting(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    int count;

    (void)attr;
    if (ioctl(hal_device_fd(dev), FIONREAD, &count))
        return -errno;
    out->i = count;
    return 0;
}

static const struct hal_attribute attributes[] = {
    {
        .name = "capacity",
        .unit = "B",
        .doc = "Room for bytes that are not read yet; rounded up to whole pages.",
        .type = HAL_TYPE_INT,
        .access = HAL_ATTR_READ | HAL_ATTR_OPEN,
        .min = 1,
        .max = 1 << 20, /* what anybody may ask for: /proc/sys/fs/pipe-max-size */
        .initial = "65536",
        .get = get_capacity,
    },
    {
        .name = "waiting",
        .unit = "B",
        .doc = "Bytes written and not read yet, without those the library has buffered.",
        .type = HAL_TYPE_INT,
        .access = HAL_ATTR_READ,
        .get = get_waiting,
    },
};

static const struct driver_ops loopback_ops = {
    .init = loopback_init,
    .read = loopback_read,
    .write = loopback_write,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "What is written can be read back",
    .address = "(none)",
    .flags = HAL_DRIVER_PLAIN_IO,
};

HAL_PLUGIN("loopback", &loopback_ops, "1.0");
