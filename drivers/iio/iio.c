/* SPDX-License-Identifier: Apache-2.0 */
/* Industrial I/O devices: converters and sensors, by sysfs and the kernel's buffer. */
#include <errno.h>
#include <fcntl.h>
#include <linux/iio/events.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "iio.h"

#define LOOK_NS 40000000 /* a wait sees a removal after this long */

_Static_assert(sizeof(struct iio_event_data) == sizeof(struct hal_iio_event),
               "events are passed on as the kernel gives them");

/* The kernel's poll says nothing of a device that was removed, so a wait looks by itself. */
static int wait_input(struct hal_device *dev, hal_deadline until)
{
    const struct iio *iio = hal_device_state(dev);
    hal_deadline look;
    int rc;

    if (until <= HAL_NOWAIT)
        return -EAGAIN;
    do {
        look = hal_after(LOOK_NS);
        if (!sysfs_exists(iio->folder))
            return hal_fail(-ENODEV, "read", hal_device_uri(dev), "the device was removed");
        rc = hal_device_wait(dev, HAL_LANE_READ, hal_device_fd(dev), POLLIN,
                             look < until ? look : until);
    } while (rc == -ETIMEDOUT && look < until);
    return rc < 0 ? rc : 0;
}

static ssize_t read_once(struct hal_device *dev, void *buf, size_t len)
{
    const struct iio *iio = hal_device_state(dev);
    ssize_t n = read(hal_device_fd(dev), buf, len);

    if (n > 0)
        return n;
    if ((n < 0 && errno == ENODEV) || !sysfs_exists(iio->folder))
        return hal_fail(-ENODEV, "read", hal_device_uri(dev), "the device was removed");
    return n < 0 ? -errno : -EAGAIN;
}

static ssize_t iio_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    const struct iio *iio = hal_device_state(dev);
    size_t unit = iio->events ? sizeof(struct hal_iio_event) : iio->scan.size;
    ssize_t n;

    if (!unit)
        return hal_fail_plain(-EOPNOTSUPP, "read", hal_device_uri(dev),
                              "opened without channels= (for scans) or events=true");
    if (len < unit)
        return hal_fail_plain(-EINVAL, "read", hal_device_uri(dev),
                              "room for %zu bytes; %s has %zu", len,
                              iio->events ? "an event" : "a scan", unit);
    while ((n = read_once(dev, buf, len)) == -EAGAIN) {
        int err = wait_input(dev, until);
        if (err)
            return err;
    }
    return n;
}

static ssize_t iio_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail_plain(-EOPNOTSUPP, "write", hal_device_uri(dev),
                          "outputs are attributes, as out_voltage0");
}

static long iio_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                        hal_deadline until)
{
    const struct iio *iio = hal_device_state(dev);

    (void)until;
    if (request != HAL_IIO_SCAN)
        return -ENOTTY;
    if (size != sizeof(iio->scan))
        return hal_fail_plain(-EINVAL, "scan", hal_device_uri(dev),
                              "the argument has %zu bytes where %zu belong", size,
                              sizeof(iio->scan));
    if (!iio->scan.count)
        return hal_fail_plain(-EOPNOTSUPP, "scan", hal_device_uri(dev),
                              "opened without channels=, so nothing is captured");
    memcpy(arg, &iio->scan, sizeof(iio->scan));
    return 0;
}

/* ---- opening ---- */

static int open_events(struct hal_device *dev, struct iio *iio)
{
    int node = hal_open_node(iio->node, O_RDONLY | O_NONBLOCK), fd = -1, err;

    if (node < 0)
        return node;
    err = ioctl(node, IIO_GET_EVENT_FD_IOCTL, &fd) < 0 ? -errno : 0;
    close(node);
    if (err == -EBUSY)
        return hal_fail(err, "open", hal_device_uri(dev), "somebody else takes its events");
    if (err)
        return hal_fail(-EOPNOTSUPP, "open", hal_device_uri(dev), "the device has no events");
    hal_device_set_fds(dev, fd, -1);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        return hal_fail(-errno, "open", hal_device_uri(dev), NULL);
    return 0;
}

static int open_capture(struct hal_device *dev, struct iio *iio)
{
    int fd = hal_open_node(iio->node, O_RDONLY | O_NONBLOCK);

    if (fd < 0)
        return fd;
    hal_device_set_fds(dev, fd, -1);
    return capture_start(dev, iio);
}

static int set_up(struct hal_device *dev, struct iio *iio)
{
    struct hal_value value;
    bool capture = hal_device_option(dev, "channels", &value) == 1;
    int err = resolve_device(dev, iio);

    iio->timestamp = hal_device_option(dev, "timestamp", &value) >= 0 && value.b;
    iio->events = hal_device_option(dev, "events", &value) >= 0 && value.b;
    if (err)
        return err;
    if (capture && iio->events)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "channels and events do not go together; open the device twice");
    err = channels_find(iio);
    if (err)
        return sysfs_fail(dev, err, "open", iio->folder);
    if (!err && capture)
        err = open_capture(dev, iio);
    if (!err && iio->events)
        err = open_events(dev, iio);
    return err ? err : attributes_make(dev, iio);
}

static void iio_free(struct iio *iio)
{
    capture_stop(iio);
    free(iio->attributes);
    free(iio->entries);
    free(iio->channels);
    free(iio);
}

static int iio_init(struct hal_device *dev)
{
    struct iio *iio = calloc(1, sizeof(*iio));
    int err;

    if (!iio)
        return -ENOMEM;
    hal_device_set_state(dev, iio);
    err = set_up(dev, iio);
    if (err) {
        hal_device_set_state(dev, NULL);
        iio_free(iio);
    }
    return err;
}

static void iio_fini(struct hal_device *dev)
{
    iio_free(hal_device_state(dev));
}

static const struct hal_match matches[] = {
    {"subsystem:iio/iio:device*", "device{number}", "a converter or sensor"},
};

static const struct driver_ops iio_ops = {
    .init = iio_init,
    .read = iio_read,
    .write = iio_write,
    .fini = iio_fini,
    .control = iio_control,
    .summary = "Industrial I/O: converters, sensors",
    .address = "DEVICE",
    .flags = HAL_DRIVER_PLAIN_IO,
    .attributes = iio_attributes,
    .attribute_count = IIO_ATTRIBUTES,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("iio", &iio_ops, "0.1.0");
